//! `[[service.sign_in]]`: what can be typed, what is wrong with it, and what a reload tells.

use std::path::Path;

use super::{Config, diff, proxied_mistakes_tests::each_alone};
use crate::policy::{
    sign_in::{Answer, Field, PathMatch, Place, Repeated, SignIn, UserPlace},
    signal::{Flow, Outcome},
};

pub(super) fn sign_in(method: &str, path: &str, user: UserPlace) -> SignIn {
    SignIn {
        method: method.to_owned(),
        path: PathMatch::parse(path).unwrap(),
        flow: Flow::SignIn,
        user,
        body_bytes_max: 16_384,
        answer: Answer::default(),
    }
}

/// Those of [`EVERYTHING`](super::proxied_tests::EVERYTHING).
pub(super) fn typed() -> Vec<SignIn> {
    let field = |text: &str| Field::parse(text).unwrap();
    let mut form = sign_in(
        "POST",
        "/login",
        UserPlace::Field(field("user.name"), Repeated::Last),
    );
    form.body_bytes_max = 256;
    let statuses = &mut form.answer.statuses;
    statuses.add_list("302,303", Outcome::Success).unwrap();
    statuses.add("2xx", Outcome::Failure).unwrap();
    statuses.add("404", Outcome::UnknownUser).unwrap();
    statuses.add("401", Outcome::Challenge).unwrap();
    form.answer.place = Place::Field(field("/error/code"), 1_024);
    form.answer.add_words("unknown-user=NOBODY,*gone").unwrap();
    form.answer.add_words("success=ok").unwrap();
    let mut basic = sign_in("*", "*/reset", UserPlace::Basic);
    basic.flow = Flow::Recovery;
    basic.answer.place = Place::Header("x-result".to_owned());
    basic.answer.add_words("failure=no").unwrap();
    vec![form, basic, sign_in("PUT", "/new/*", UserPlace::Nowhere)]
}

#[test]
fn mistakes_of_sign_ins() {
    each_alone(MISTAKES);
}

/// Behind a service with a gateway.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "{L}method = \"POST\"",
        "service[0] \"s\".sign_in[0]: `path` is missing",
        "/login",
    ),
    (
        "{L}path = \"login\"",
        "service[0] \"s\".sign_in[0].path: `login`",
        "begins with `/`",
    ),
    (
        "{L}path = \"/a//b\"",
        "service[0] \"s\".sign_in[0].path: `/a//b`",
        "`/a/b`",
    ),
    (
        "{L}path = \"/a\"\nmethod = \"A B\"",
        "service[0] \"s\".sign_in[0].method: \"A B\"",
        "no method",
    ),
    (
        "{L}path = \"/a\"\nflow = \"signin\"",
        "service[0] \"s\".sign_in[0].flow",
        "\"sign-in\"?",
    ),
    (
        "{L}path = \"/a\"\nuser_fields = \"u\"",
        "service[0] \"s\".sign_in[0].user_fields: unknown key",
        "`user_field`?",
    ),
    (
        "{L}path = \"/a\"\nuser_field = \"\"",
        "service[0] \"s\".sign_in[0].user_field",
        "1 to 256",
    ),
    (
        "{L}path = \"/a\"\nuser_field = \"u\"\nuser_basic = true",
        "service[0] \"s\".sign_in[0].user_field: stands beside user_basic",
        "",
    ),
    (
        "{L}path = \"/a\"\nuser_repeated = \"last\"",
        "service[0] \"s\".sign_in[0].user_repeated: has no effect without user_field",
        "",
    ),
    (
        "{L}path = \"/a\"\nuser_field = \"u\"\nbody_bytes_max = 100",
        "service[0] \"s\".sign_in[0].body_bytes_max: 100",
        "256 to 1048576",
    ),
    (
        "{L}path = \"/a\"\nsuccess = [700]",
        "service[0] \"s\".sign_in[0].success[0]: 700",
        "100 to 599",
    ),
    (
        "{L}path = \"/a\"\nsuccess = [\"ok\"]",
        "service[0] \"s\".sign_in[0].success[0]: `ok` is no status",
        "4xx",
    ),
    (
        "{L}path = \"/a\"\nsuccess = [200]\nfailure = [200]",
        "service[0] \"s\".sign_in[0].failure[0]: `200` already means success",
        "",
    ),
    (
        "{L}path = \"/a\"\noutcomes = [\"success=ok\"]",
        "service[0] \"s\".sign_in[0].outcomes: has no effect without outcome_header",
        "",
    ),
    (
        "{L}path = \"/a\"\noutcome_header = \"x\"",
        "service[0] \"s\".sign_in[0].outcome_header: nothing says what its words mean",
        "outcomes = ",
    ),
    (
        "{L}path = \"/a\"\noutcome_header = \"a b\"\noutcomes = [\"success=ok\"]",
        "service[0] \"s\".sign_in[0].outcome_header: \"a b\" is no name",
        "",
    ),
    (
        "{L}path = \"/a\"\noutcome_header = \"a\"\noutcome_field = \"b\"\noutcomes = [\"success=ok\"]",
        "service[0] \"s\".sign_in[0].outcome_field: stands beside outcome_header",
        "",
    ),
    (
        "{L}path = \"/a\"\noutcome_field = \"b\"\noutcomes = [\"fine=ok\"]",
        "service[0] \"s\".sign_in[0].outcomes[0]: `fine` is no outcome",
        "unknown-user",
    ),
    (
        "{L}path = \"/a\"\n[[service.sign_in]]\npath = \"/a\"",
        "service[0] \"s\".sign_in[1]: POST /a is named twice",
        "",
    ),
    (
        "{S}[[service.sign_in]]\npath = \"/a\"",
        "warning: service[0] \"s\".sign_in: has no effect: nothing here answers",
        "[service.gateway]",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/run/a\"\nuser_header = \"a b\"",
        "endpoint[0] \"e\".user_header: \"a b\" is no name",
        "",
    ),
];

#[test]
fn a_reload_tells_what_differs() {
    let config = |sign_ins: &str| {
        let text = format!(
            "[[service]]\nname = \"s\"\nports = [80]\ngateway = {{}}\nsign_in = [{sign_ins}]"
        );
        Config::parse(&text, Path::new("/"), "t").unwrap()
    };
    let (login, reset) = (
        "{ path = \"/login\" }",
        "{ path = \"*/reset\", method = \"*\" }",
    );
    let changes = |old: &str, new: &str| diff::changes(&config(old), &config(new)).join("; ");
    assert_eq!(changes(login, login), "");
    assert_eq!(
        changes(login, reset),
        "service \"s\": sign_in \"POST /login\" removed, sign_in \"* */reset\" added"
    );
    let both = |one: &str, other: &str| format!("{one}, {other}");
    assert_eq!(
        changes(&both(login, reset), &both(reset, login)),
        "service \"s\": sign_in in another order"
    );
    let all = "{ path = \"/login\", flow = \"enrolment\", user_field = \"u\", body_bytes_max = 300, success = [302], \
               failure = [\"2xx\"], outcome_header = \"x\", outcomes = [\"success=a*\"] }";
    assert_eq!(
        changes(login, all),
        "service \"s\": sign_in \"POST /login\" flow: sign-in → enrolment, \
         sign_in \"POST /login\" user: none → u (all), sign_in \"POST /login\" body_bytes_max: 16384 → 300, \
         sign_in \"POST /login\" statuses: default → success=302 failure=2xx, \
         sign_in \"POST /login\" outcome: status → header x, sign_in \"POST /login\" outcomes: none → success=a*"
    );
}
