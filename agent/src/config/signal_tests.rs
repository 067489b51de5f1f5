//! `[[signal]]`: what is read, and every mistake at once.

use std::path::Path;

use super::*;
use crate::signal::{JsonFields, Recipe, Routes, Words};

fn parse(text: &str) -> Result<Config, Mistakes> {
    let whole = format!("interfaces = [\"eth0\"]\n{text}");
    Config::parse(&whole, Path::new("/etc/edgeward"), "edgeward.toml")
}

fn mistakes(text: &str) -> String {
    match parse(text) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.to_string(),
    }
}

const LOGIN: &str = "[[service]]\nname = \"login\"\nports = [443]\n";

#[test]
fn logs_are_read_with_their_defaults() {
    let config = parse(&format!(
        r#"{LOGIN}
[[signal]]
name = "access log"
file = "/var/log/nginx/access.log"
format = "nginx"
[[signal]]
name = "sshd"
journal = ["ssh.service", "sshd@*.service"]
format = "sshd"
service = "login"
[[signal]]
name = "application"
file = "/var/log/app.json"
format = "json"
start = "beginning"
fields = "client=request.ip,user=name"
outcomes = ["success=LOGIN_OK"]
"#
    ))
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let [access, sshd, application] = config.signals.as_slice() else {
        panic!("{:?}", config.signals);
    };
    assert_eq!(access.service.as_deref(), Some("login"), "the only one");
    assert_eq!(access.recipe, Recipe::Access(Routes::default()));
    assert_eq!(access.start, SignalStart::End);
    let units = ["ssh.service", "sshd@*.service"].map(str::to_owned);
    assert_eq!(sshd.place, SignalPlace::Journal(units.to_vec()));
    let mut words = Words::default();
    words.add("success=LOGIN_OK").unwrap();
    let fields = JsonFields::parse("client=request.ip,user=name", words).unwrap();
    assert_eq!(application.recipe, Recipe::Json(fields));
    assert_eq!(application.start, SignalStart::Beginning);
    let alone = parse("[[signal]]\nname = \"a\"\nfile = \"/a\"\nformat = \"sshd\"\n").unwrap();
    assert_eq!(alone.signals[0].service, None, "there is none");
}

#[test]
fn mistakes_are_named_all_at_once() {
    let told = mistakes(&format!(
        r#"{LOGIN}
[[signal]]
name = "one"
file = "access.log"
journal = ["ssh.service"]
format = "ngnix"
[[signal]]
name = "one"
format = "nginx"
routes = ["POST login", "POST /a"]
fields = "time=x"
[[signal]]
name = "two"
journal = []
format = "regex"
start = "beginning"
outcomes = ["LOGIN_OK"]
[[signal]]
name = "three"
journal = ["--user"]
format = "regex"
pattern = '(?<time>'
[[signal]]
name = "four"
file = "/a.log"
format = "json"
service = "lgin"
fields = "ip=x"
path = "/a"
"#
    ));
    for expected in [
        "signal[0] \"one\".journal: stands beside `file`",
        "\"ngnix\" is not known here",
        "did you mean \"nginx\"",
        "signal[1] \"one\": neither `file` nor `journal`",
        "the name \"one\" is already taken",
        "a path begins with `/`",
        "signal[1] \"one\".fields: has no meaning with format = \"nginx\"",
        "signal[2] \"two\".journal: names no unit",
        "signal[2] \"two\".start: is for files",
        "`pattern` is missing",
        "\"--user\" is no name of a unit",
        "the expression is not understood",
        "there is no service \"lgin\"",
        "`ip` is no fact",
        "signal[4].path: unknown key",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    let relative =
        mistakes("[[signal]]\nname = \"a\"\nfile = \"access.log\"\nformat = \"nginx\"\n");
    assert!(relative.contains("is not an absolute path"), "{relative}");
}

#[test]
fn a_file_that_is_followed_twice_deserves_a_look() {
    let one = "[[signal]]\nfile = \"/a\"\nformat = \"nginx\"\nname = ";
    let config = parse(&format!("{one}\"a\"\n{one}\"b\"\n")).unwrap();
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("counts twice"), "{warnings:?}");
}

#[test]
fn an_endpoint_for_applications_may_leave_the_service_to_them() {
    let endpoint =
        "[[endpoint]]\nname = \"app\"\nlisten = \"127.0.0.1:9409\"\nprofile = \"signals\"\n";
    let other = LOGIN.replace("login", "shop").replace("443", "80");
    for (services, service) in [
        (String::new(), ""),
        (LOGIN.to_owned(), "login"),
        (format!("{LOGIN}{other}"), ""),
    ] {
        let config = parse(&format!("{services}{endpoint}"));
        let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(config.endpoints[0].service, service);
        let warned = config.warnings.iter().map(ToString::to_string);
        let warned: Vec<String> = warned.filter(|text| text.contains("endpoint")).collect();
        assert!(warned.is_empty(), "{warned:?}");
    }
}

#[test]
fn a_reload_says_what_changes() {
    let log = |more: &str| {
        parse(&format!(
            "[[signal]]\nname = \"a\"\nfile = \"/a\"\nformat = \"nginx\"\n{more}"
        ))
        .unwrap()
    };
    let (old, new) = (
        log(""),
        log("routes = [\"POST /in\"]\nstart = \"beginning\"\n"),
    );
    assert_eq!(
        diff::changes(&old, &new),
        ["signal \"a\": start: end → beginning, its options changed"]
    );
    assert_eq!(
        diff::changes(&old, &parse("").unwrap()),
        ["signal \"a\" removed"]
    );
    assert!(diff::needs_restart(&old, &new).is_empty());
}
