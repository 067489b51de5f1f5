//! `[[stream]]` tables of particular makers: what they become, and every mistake by its place.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{
    receivers::{AwsCredentials, OtlpEncoding},
    stream::StreamKind,
    *,
};

fn file(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn parse(text: &str) -> Result<Config, Mistakes> {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "siem.secret", "hunter2\n");
    file(
        folder.path(),
        "aws",
        "[siem]\naws_access_key_id = A\naws_secret_access_key = hunter2\n",
    );
    Config::parse(text, folder.path(), "edgeward.toml")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of streams")]
fn a_receiver_needs_little_more_than_its_place_and_its_secret() {
    let text = r#"
[[stream]]
name = "splunk"
kind = "splunk-hec"
url = "https://splunk.example:8088"
token_file = "siem.secret"
acknowledge = true
format = "ocsf"

[[stream]]
name = "collector"
kind = "otlp"
url = "http://127.0.0.1:4318"
header_file = "siem.secret"

[[stream]]
name = "bus"
kind = "eventbridge"
region = "eu-central-1"
credentials_file = "aws"
profile = "siem"

[[stream]]
name = "dog"
kind = "datadog"
site = "datadoghq.eu"
api_key_file = "siem.secret"
tags = ["env:test", "team:iam"]
format = "ecs"

[[stream]]
name = "sentinel"
kind = "sentinel"
url = "https://edge-1.westeurope-1.ingest.monitor.azure.com"
rule = "dcr-00"
stream_name = "Custom-Edgeward_CL"
tenant = "11-22"
client_id = "33"
client_secret_file = "siem.secret"
"#;
    let config = parse(text).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("hunter2"));
    let targets: Vec<String> = config.streams.iter().map(Stream::target).collect();
    assert_eq!(
        targets,
        [
            "https://splunk.example:8088/services/collector",
            "http://127.0.0.1:4318/v1/logs",
            "https://events.eu-central-1.amazonaws.com/ default",
            "https://http-intake.logs.datadoghq.eu/api/v2/logs",
            "https://edge-1.westeurope-1.ingest.monitor.azure.com/dataCollectionRules/dcr-00/streams/Custom-Edgeward_CL Custom-Edgeward_CL",
        ]
    );
    let formats: Vec<&str> = config.streams.iter().map(|it| it.format.name()).collect();
    assert_eq!(formats, ["ocsf", "okta", "okta", "ecs", "okta"]);
    let mut kinds = config.streams.iter().map(|it| &it.kind);
    let Some(StreamKind::SplunkHec(splunk)) = kinds.next() else {
        panic!("no Splunk");
    };
    assert!(splunk.acknowledge && splunk.gzip);
    assert_eq!(splunk.sourcetype, "edgeward:ocsf");
    let Some(StreamKind::Otlp(otlp)) = kinds.next() else {
        panic!("no OTLP");
    };
    assert_eq!((otlp.encoding, otlp.gzip), (OtlpEncoding::Protobuf, false));
    assert_eq!(otlp.secret.as_ref().unwrap().name, "authorization");
    let Some(StreamKind::EventBridge(bus)) = kinds.next() else {
        panic!("no EventBridge");
    };
    assert!(matches!(&bus.credentials, AwsCredentials::File { profile, .. } if profile == "siem"));
    assert_eq!(config.streams[2].batch_events_max, 10);
    let Some(StreamKind::Datadog(dog)) = kinds.next() else {
        panic!("no Datadog");
    };
    assert_eq!(dog.tags, "env:test,team:iam");
    let Some(StreamKind::Sentinel(sentinel)) = kinds.next() else {
        panic!("no Sentinel");
    };
    assert_eq!(
        sentinel.authority.to_string(),
        "https://login.microsoftonline.com/11-22/oauth2/v2.0/token"
    );
    assert_eq!(sentinel.remote.uri.query(), Some("api-version=2023-01-01"));
}

#[test]
fn every_mistake_is_named_at_once() {
    let text = r#"
[[stream]]
name = "splunk"
kind = "splunk-hec"
url = "https://splunk.example:8088/services/collector/event?channel=1"
token_file = "nothing.secret"
index = "two words"
region = "eu-central-1"

[[stream]]
name = "collector"
kind = "otlp"
url = "ftp://collector"
encoding = "xml"
header = "x-key"

[[stream]]
name = "bus"
kind = "eventbridge"
region = "Frankfurt!"
batch_events_max = 11
credentials_file = "aws"
profile = "nobody"
source = "aws.events"

[[stream]]
name = "dog"
kind = "datadog"
site = "datadoghq.eu"
url = "http://dog.example/"
tags = ["a,b"]
batch_events_max = 1001

[[stream]]
name = "sentinel"
kind = "sentinel"
url = "https://edge-1.example/?x=1"
rule = "dcr/../00"
client_id = "33"
format = "leef"
"#;
    let mistakes = parse(text).unwrap_err();
    let found: Vec<String> = mistakes.kept.iter().map(ToString::to_string).collect();
    let all = found.join("\n");
    for expected in [
        "stream[0] \"splunk\".url: has a query, which is not used here",
        "nothing.secret does not exist",
        "stream[0] \"splunk\".index: \"two words\" is not 1 to 256 printable",
        "stream[0] \"splunk\".region: is for the kind eventbridge",
        "stream[1] \"collector\".url: is no URL of http",
        "stream[1] \"collector\".encoding: \"xml\" is not known here",
        "stream[1] \"collector\".header: stands alone",
        "stream[2] \"bus\".region: \"Frankfurt!\" is no region",
        "stream[2] \"bus\".batch_events_max: 11 is out of range",
        "has no profile [nobody]",
        "stream[2] \"bus\".source: begins with aws.",
        "stream[3] \"dog\".site: has no effect beside url",
        "stream[3] \"dog\".tags[0]: \"a,b\" is no tag",
        "stream[3] \"dog\".batch_events_max: 1001 is out of range",
        "stream[3] \"dog\": `api_key_file` is missing",
        "stream[4] \"sentinel\".url: has a query",
        "stream[4] \"sentinel\".rule: has other characters",
        "stream[4] \"sentinel\": `stream_name` is missing",
        "stream[4] \"sentinel\": `tenant` is missing",
        "stream[4] \"sentinel\": `client_secret_file` is missing",
        "stream[4] \"sentinel\".format: \"leef\" is not known here",
    ] {
        assert!(all.contains(expected), "{expected}\nis not among\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}
