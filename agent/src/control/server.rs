//! The listening side of the control socket: binding it safely and bounding who holds how much of it.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use super::{
    Command, EventFeed, Failure, FailureKind, Peer, Role, Roles,
    connection::{Connection, refuse},
    roles::supplementary_groups,
};

/// Why the control socket cannot be had.
#[derive(Debug)]
pub enum BindError {
    /// Another agent answers there.
    InUse(PathBuf),
    /// Something that is no socket has the name.
    NotASocket(PathBuf),
    /// The system refused.
    System {
        /// The socket or its directory.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
}

/// Binds the control socket at `path`, open to every account: who may do what is decided after the
/// accept, by the peer's ids. Must be called within a tokio runtime.
///
/// A socket left by a dead agent is removed, but only after a connect has shown that nobody answers.
///
/// # Errors
/// When another agent answers, the name is taken by something else, or the system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let system = |cause: io::Error| BindError::System {
        path: path.to_path_buf(),
        cause,
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|cause| BindError::System {
                path: parent.to_path_buf(),
                cause,
            })?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => match StdStream::connect(path) {
            Ok(_) => return Err(BindError::InUse(path.to_path_buf())),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(system)?;
            }
            Err(error) => return Err(system(error)),
        },
    }
    let listener = UnixListener::bind(path).map_err(system)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(system)?;
    Ok(listener)
}

/// Serves the socket until its task is dropped. Requests go to `commands`; `events` is served from the feed.
pub async fn serve(
    listener: UnixListener,
    roles: watch::Receiver<Roles>,
    commands: mpsc::Sender<Command>,
    events: EventFeed,
) {
    let all = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let readers = Arc::new(Semaphore::new(READER_CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Collects what has ended; without it the set grows with every connection.
            Some(_) = tasks.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "control socket: a connection could not be accepted");
                // Out of descriptors, most likely: an immediate retry would spin.
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (peer, groups, role) = match identify(&stream, &roles) {
            Ok(known) => known,
            Err(failure) => {
                refuse(&stream, failure);
                continue;
            }
        };
        let permit = Arc::clone(&all).try_acquire_owned();
        // Readers cannot take the last places: an operator always gets in.
        let share = match role {
            Role::Operator => Ok(None),
            Role::Reader => Arc::clone(&readers).try_acquire_owned().map(Some),
        };
        let (Ok(permit), Ok(share)) = (permit, share) else {
            refuse(
                &stream,
                Failure::new(
                    FailureKind::Unavailable,
                    "too many connections to the control socket; close some and try again",
                ),
            );
            continue;
        };
        let connection = Connection {
            peer,
            groups,
            roles: roles.clone(),
            commands: commands.clone(),
            events: events.clone(),
        };
        tasks.spawn(async move {
            connection.run(stream).await;
            drop((permit, share));
        });
    }
}

fn identify(
    stream: &UnixStream,
    roles: &watch::Receiver<Roles>,
) -> Result<(Peer, Vec<u32>, Role), Failure> {
    let credentials = stream.peer_cred().map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("the kernel does not say who connected: {error}"),
        )
    })?;
    let peer = Peer {
        uid: credentials.uid(),
        gid: credentials.gid(),
        pid: credentials.pid(),
    };
    let groups = supplementary_groups(&peer);
    let role = roles.borrow().role(&peer, &groups);
    role.map(|role| (peer, groups, role)).ok_or_else(|| {
        Failure::new(
            FailureKind::Denied,
            format!(
                "uid {} has no role here; run this as root, or add the account to `control.readers` or \
                 `control.operators` in the configuration",
                peer.uid
            ),
        )
    })
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "another edgeward answers at {}; stop it first, or give this one its own `socket`",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "{} exists and is no socket; move it away or set another `socket`",
                path.display()
            ),
            Self::System { path, cause } => {
                write!(f, "control socket {}: {cause}", path.display())
            }
        }
    }
}

impl std::error::Error for BindError {}

const CONNECTIONS_MAX: usize = 64;
const READER_CONNECTIONS_MAX: usize = 48;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
