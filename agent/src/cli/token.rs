//! `token`: makes tokens for the HTTP API and shows those there are. Needs no agent: what counts is the configuration.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Outcome, Trouble, lifetime, output};
use crate::{
    api::secret::{self, Secret},
    config::{Config, Scopes},
    moment,
};

/// `edgeward token`.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token: shows it once, writes its hash into a file, and says what to add to the configuration
    New(New),
    /// The tokens of the configuration
    List,
}

#[derive(Debug, Args)]
struct New {
    /// Who will use it; events name it
    #[arg(value_parser = file_name)]
    name: String,
    /// What it allows, as in okta.logs.read; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    scopes: Vec<Scopes>,
    /// It ends after this time, as in 90d; without it, never
    #[arg(long = "for", value_name = "TIME", value_parser = lifetime)]
    for_ms: Option<u64>,
    /// Where its hash goes [default: tokens/NAME beside the configuration]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

impl Token {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            What::New(new) => make(context, &new),
            What::List => list(context),
        }
    }
}

fn make(context: &mut Context<'_>, new: &New) -> Outcome {
    let base = context
        .config_path()
        .parent()
        .unwrap_or_else(|| Path::new(""))
        .to_path_buf();
    let named = match &new.file {
        Some(path) => std::path::absolute(path)
            .map_err(|error| Trouble::Failed(format!("{}: {error}", path.display())))?,
        None => Path::new(TOKENS_DIRECTORY).join(&new.name),
    };
    let path = base.join(&named);
    let token = secret::new_token().map_err(Trouble::Failed)?;
    let expires = new.for_ms.map(|for_ms| context.now.saturating_add(for_ms));
    let text = Secret::file_text(&new.name, &token, context.now, expires);
    write(&path, &text).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "; give the token another name, or --file",
            _ => "",
        };
        Trouble::Failed(format!("{}: {error}{hint}", path.display()))
    })?;
    let scopes = new.scopes.iter().copied();
    let scopes = scopes.fold(Scopes::default(), Scopes::with).names();
    let quoted: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
    // A path is text in quotes by the rules of JSON, which TOML shares.
    let toml = format!(
        "[[api.token]]\nname = \"{}\"\nsecret_file = {}\nscopes = [{}]\n",
        new.name,
        json!(named.to_string_lossy()),
        quoted.join(", ")
    );
    let data = json!({
        "name": new.name, "token": token, "secret_file": path, "scopes": scopes, "expires": expires, "toml": toml,
    });
    if context.printed_json(&data)? {
        return Ok(());
    }
    context.line(format_args!("{token}\n"))?;
    context.line(format_args!(
        "This is the only time that it is shown; {} holds its hash{}.",
        path.display(),
        expires.map_or_else(String::new, |at| format!(
            ", and its end: {}",
            moment::utc(at)
        ))
    ))?;
    let config = context.config_path().to_path_buf();
    context.line(format_args!(
        "Add to {}, below [api], and run `edgeward reload`:\n",
        config.display()
    ))?;
    context.text(&toml)
}

/// A new file that its owner alone may read; one that is there stays.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // Its own directory alone: where there is no configuration, there is nothing to add a token to.
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        fs::DirBuilder::new().mode(0o700).create(parent)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn list(context: &mut Context<'_>) -> Outcome {
    let path = context.config_path().to_path_buf();
    let loaded = output::waiting("reading the configuration and its lists", || {
        Config::load(&path)
    });
    let config = loaded.map_err(|mistakes| {
        Trouble::Configuration(format!("{} has mistakes:\n{mistakes}", path.display()))
    })?;
    let tokens = config.api.map(|api| api.tokens).unwrap_or_default();
    let read: Vec<_> = tokens
        .iter()
        .map(|token| (token, Secret::read(&token.secret_file).ok()))
        .collect();
    let rows = read.iter().map(|(token, secret)| {
        json!({
            "name": token.name,
            "scopes": token.scopes.names(),
            "secret_file": token.secret_file,
            "created": secret.as_ref().and_then(|secret| secret.created_ms),
            "expires": secret.as_ref().and_then(|secret| secret.expires_ms),
            "hashed": secret.as_ref().map(|secret| !secret.is_clear),
        })
    });
    let data = json!({ "tokens": rows.collect::<Vec<_>>() });
    if context.printed_json(&data)? {
        return Ok(());
    }
    if read.is_empty() {
        return context.line(format_args!(
            "no tokens; make one with `edgeward token new NAME --scope okta.logs.read`"
        ));
    }
    let mut table = output::Table::new(&["TOKEN", "SCOPES", "MADE", "ENDS", "FILE"]);
    for (token, secret) in &read {
        let made = secret.as_ref().and_then(|secret| secret.created_ms);
        let ends = secret.as_ref().and_then(|secret| secret.expires_ms);
        table.row([
            token.name.clone(),
            token.scopes.to_string(),
            made.map_or_else(|| "-".to_owned(), moment::utc),
            match ends {
                Some(at) if at <= context.now => "has ended".to_owned(),
                ends => output::ends(ends, context.now),
            },
            token.secret_file.display().to_string(),
        ]);
    }
    context.text(&table.render())
}

fn scope(text: &str) -> Result<Scopes, String> {
    Scopes::named(text).ok_or_else(|| {
        let known: Vec<&str> = Scopes::NAMED.iter().map(|(name, _)| *name).collect();
        format!("use one of {}", known.join(", "))
    })
}

fn file_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.len() <= NAME_BYTES_MAX && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(
            "write letters, digits, points, hyphens and underscores, a letter or digit first"
                .to_owned(),
        )
    }
}

/// Beside the configuration.
const TOKENS_DIRECTORY: &str = "tokens";
/// As the configuration's own names.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn run(config: &Path, token: Token, json: bool) -> Result<String, Trouble> {
        let mut out = Vec::new();
        let mut context = Context {
            json,
            socket: None,
            config: Some(config.to_path_buf()),
            now: 1_700_000_000_000,
            out: &mut out,
        };
        token.execute(&mut context)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn new(name: &str) -> Token {
        Token {
            what: What::New(New {
                name: name.to_owned(),
                scopes: vec![Scopes::LOGS_READ, Scopes::ZONES_MANAGE],
                for_ms: Some(86_400_000),
                file: None,
            }),
        }
    }

    #[test]
    fn what_is_made_is_what_the_configuration_takes() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("edgeward.toml");
        fs::write(&config, "").unwrap();
        let made: serde_json::Value =
            serde_json::from_str(&run(&config, new("siem"), true).unwrap()).unwrap();
        let token = made["token"].as_str().unwrap();
        let file = dir.path().join("tokens/siem");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!fs::read_to_string(&file).unwrap().contains(token));
        fs::write(
            &config,
            format!("[api]\n{}", made["toml"].as_str().unwrap()),
        )
        .unwrap();
        let api = Config::load(&config).unwrap().api.unwrap();
        let [known] = api.tokens.as_slice() else {
            panic!("{api:?}");
        };
        assert_eq!(known.name, "siem");
        assert!(
            known.scopes.allow(Scopes::ZONES_READ) && !known.scopes.allow(Scopes::THREATS_READ)
        );
        assert_eq!(
            Secret::read(&known.secret_file).unwrap().digest,
            secret::hash(token)
        );
        let listed = run(&config, Token { what: What::List }, false).unwrap();
        assert!(
            listed.contains("siem") && listed.contains("okta.networkZones.manage"),
            "{listed}"
        );
        assert!(!listed.contains(token));
        // A second one of the same name does not take the first away.
        run(&config, new("siem"), false).unwrap_err();
        let shown = run(&config, new("other"), false).unwrap();
        assert!(shown.contains("secret_file = \"tokens/other\""), "{shown}");
    }

    #[test]
    fn names_are_file_names() {
        for good in ["siem", "a.b-c_1", "1"] {
            assert!(file_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "../up", "a/b", "two words", "\"", "é"] {
            assert!(file_name(bad).is_err(), "{bad}");
        }
        assert!(scope("okta.logs.read").is_ok() && scope("okta.logs.write").is_err());
    }
}
