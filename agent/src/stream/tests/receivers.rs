//! Receivers: a web server that does as it is told, request by request, and one of syslog that can be cut off.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::number;

/// What a web server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Takes it and answers.
    Take,
    /// Answers with this status and takes nothing.
    Say(u16),
    /// The same, with a wish to be left alone for a second.
    Later(u16),
    /// Takes it and hangs up before the answer.
    TakeAndHangUp,
    /// Hangs up at once.
    HangUp,
    /// Answers what is no HTTP.
    Garbage,
    /// Says nothing until the other side has had enough.
    Hang,
}

/// A web server; what it has taken, in order.
pub(super) struct Web {
    pub(super) port: u16,
    pub(super) taken: Arc<Mutex<Vec<u64>>>,
    pub(super) headers: Arc<Mutex<Vec<String>>>,
    acts: Arc<Mutex<VecDeque<Act>>>,
}

impl Web {
    /// Does `acts` in turn, and then takes everything; refuses with 400 what has one of `poison` in it, and with 413 what
    /// has more than `events_max` events.
    pub(super) fn start(acts: &[Act], poison: &'static [u64], events_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            port: listener.local_addr().unwrap().port(),
            taken: Arc::default(),
            headers: Arc::default(),
            acts: Arc::new(Mutex::new(acts.iter().copied().collect())),
        };
        let (taken, headers, acts) = (web.taken.clone(), web.headers.clone(), web.acts.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (taken, headers, acts) = (taken.clone(), headers.clone(), acts.clone());
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Some((head, events)) = request(&mut stream) {
                        headers.lock().unwrap().push(head);
                        let next = acts.lock().unwrap().pop_front();
                        let is_bad = events.iter().any(|event| poison.contains(event));
                        let act = match next {
                            Some(act) => act,
                            None if events.len() > events_max => Act::Say(413),
                            None if is_bad => Act::Say(400),
                            None => Act::Take,
                        };
                        if matches!(act, Act::Take | Act::TakeAndHangUp) {
                            taken.lock().unwrap().extend(events);
                        }
                        if !answer(stream.get_mut(), act) {
                            return;
                        }
                    }
                });
            }
        });
        web
    }

    pub(super) fn acts_left(&self) -> usize {
        self.acts.lock().unwrap().len()
    }

    pub(super) fn taken(&self) -> Vec<u64> {
        self.taken.lock().unwrap().clone()
    }
}

/// The head of a request, and the numbers of the events in it.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u64>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let events = body["data"]["events"].as_array().unwrap();
    Some((head, events.iter().map(number).collect()))
}

/// Whether the connection goes on.
fn answer(stream: &mut TcpStream, act: Act) -> bool {
    let mut say = |text: String| stream.write_all(text.as_bytes()).is_ok();
    match act {
        Act::Take => say("HTTP/1.1 204 Fine\r\n\r\n".to_owned()),
        Act::Say(status) => say(format!(
            "HTTP/1.1 {status} No\r\nContent-Length: 3\r\n\r\nno\n"
        )),
        Act::Later(status) => say(format!(
            "HTTP/1.1 {status} Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
        )),
        Act::Garbage => {
            say("\u{1}\u{2} 200 is not what this is\r\n\r\n".to_owned());
            false
        }
        Act::Hang => {
            thread::sleep(Duration::from_secs(10));
            false
        }
        Act::TakeAndHangUp | Act::HangUp => {
            drop(stream.shutdown(Shutdown::Both));
            false
        }
    }
}

/// A receiver of syslog over TCP with octet counting.
pub(super) struct Rsyslog {
    pub(super) port: u16,
    pub(super) taken: Arc<Mutex<Vec<u64>>>,
    /// Connections so far.
    connections: Arc<Mutex<Vec<TcpStream>>>,
    /// Nothing is read.
    pub(super) stalled: Arc<AtomicBool>,
}

impl Rsyslog {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            taken: Arc::default(),
            connections: Arc::default(),
            stalled: Arc::default(),
        };
        let (taken, all, stalled) = (
            server.taken.clone(),
            server.connections.clone(),
            server.stalled.clone(),
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                all.lock().unwrap().push(stream.try_clone().unwrap());
                let (taken, stalled) = (taken.clone(), stalled.clone());
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(number) = message(&mut stream) {
                        taken.lock().unwrap().push(number);
                        while stalled.load(SeqCst) {
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                });
            }
        });
        server
    }

    /// Ends every connection at once; what was not read is lost.
    pub(super) fn cut(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    pub(super) fn taken(&self) -> Vec<u64> {
        self.taken.lock().unwrap().clone()
    }
}

/// The number of the event in the next message.
fn message(stream: &mut BufReader<TcpStream>) -> Option<u64> {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).ok()?;
    let length = std::str::from_utf8(&length).ok()?.trim().parse().ok()?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message).ok()?;
    let message = String::from_utf8(message).unwrap();
    assert!(message.starts_with('<'), "{message}");
    let (_, json) = message.split_once("] ").unwrap();
    Some(number(&serde_json::from_str(json).unwrap()))
}
