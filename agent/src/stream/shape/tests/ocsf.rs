//! Documents of the Open Cybersecurity Schema Framework, held against what its classes demand.

use super::{events, leaves, shaped};
use crate::stream::shape::ocsf;

#[test]
fn ocsf_documents_have_what_their_class_demands() {
    for name in events().keys() {
        let document = shaped(name, ocsf::document);
        let (class, activity) = (
            document["class_uid"].as_u64().unwrap(),
            document["activity_id"].as_u64().unwrap(),
        );
        assert_eq!(document["type_uid"], class * 100 + activity, "{name}");
        assert_eq!(document["category_uid"], class / 1_000, "{name}");
        assert_eq!(document["time"], 1_700_000_000_123_u64, "{name}");
        assert_eq!(document["metadata"]["version"], "1.5.0");
        assert_eq!(
            document["metadata"]["uid"],
            "01946c0e-0000-7000-8000-000000000001"
        );
        let (_, activities, required, one_of) =
            OCSF.iter().find(|(uid, ..)| *uid == class).unwrap();
        assert!(
            activities.contains(&activity),
            "{name}: {activity} is no activity of {class}"
        );
        for path in COMMON.iter().chain(*required) {
            assert!(
                document.pointer(path).is_some(),
                "{name}: {path} is missing in {document:#}"
            );
        }
        let has_one =
            one_of.is_empty() || one_of.iter().any(|path| document.pointer(path).is_some());
        assert!(has_one, "{name}: none of {one_of:?}");
        let mut all = Vec::new();
        leaves("", &document, &mut all);
        for (path, value) in all.iter().filter(|(path, _)| {
            path.ends_with("_id") || path.ends_with("_time") && path != "metadata.original_time"
        }) {
            assert!(value.is_u64(), "{name}: {path} is {value}");
        }
        assert!(all.iter().all(|(_, value)| !value.is_null()), "{name}");
    }
}

#[test]
fn ocsf_says_what_was_done() {
    let class = |name: &str| {
        let document = shaped(name, ocsf::document);
        let number = |path: &str| document[path].as_u64();
        (
            number("type_uid").unwrap(),
            number("action_id"),
            number("disposition_id"),
            number("severity_id").unwrap(),
        )
    };
    for (name, expected) in [
        ("packet", (400_105, Some(2), Some(6), 4)),
        ("logged", (400_106, Some(3), Some(17), 3)),
        ("request", (400_105, Some(2), Some(2), 3)),
        ("slowed", (400_105, Some(2), Some(25), 3)),
        ("limited", (400_106, Some(1), Some(14), 2)),
        ("found", (200_401, None, None, 4)),
        ("signed-in", (300_201, None, None, 1)),
        ("failed", (300_201, None, None, 3)),
        ("challenged", (300_201, None, None, 1)),
        ("enrolled", (300_101, None, None, 1)),
        ("recovered", (300_104, None, None, 3)),
        ("attacked", (200_401, None, None, 3)),
        ("calm", (200_403, None, None, 1)),
        ("mode", (300_403, None, None, 1)),
        ("zone", (300_401, None, None, 1)),
        ("decision", (300_404, None, None, 1)),
        ("started", (600_203, None, None, 1)),
        ("crashed", (600_801, None, None, 4)),
        ("feed", (600_801, None, None, 3)),
        ("fetched", (99, None, None, 1)),
        ("posture", (200_301, None, None, 1)),
    ] {
        assert_eq!(class(name), expected, "{name}");
    }
    let (attacked, calm) = (
        shaped("attacked", ocsf::document),
        shaped("calm", ocsf::document),
    );
    assert_eq!(attacked["finding_info"]["uid"], "attack:login:1000");
    assert_eq!(
        attacked["finding_info"]["uid"], calm["finding_info"]["uid"],
        "the end closes what the start opened"
    );
    let found = shaped("found", ocsf::document);
    assert_eq!(
        found["finding_info"]["attacks"][0]["sub_technique"]["uid"],
        "T1110.003"
    );
    assert_eq!(
        found["finding_info"]["attacks"][1]["tactic"]["uid"],
        "TA0043"
    );
    assert_eq!(found["evidences"][0]["src_endpoint"]["ip"], "203.0.113.9");
    assert_eq!(
        shaped("zone", ocsf::document)["actor"]["user"]["name"],
        "ann"
    );
    assert_eq!(
        shaped("decision", ocsf::document)["actor"]["app_name"],
        "Edgeward"
    );
    assert_eq!(
        shaped("posture", ocsf::document)["compliance"]["status_id"],
        3
    );
}

/// Attributes that every class of OCSF 1.5 requires.
const COMMON: &[&str] = &[
    "/activity_id",
    "/category_uid",
    "/class_uid",
    "/metadata/product/vendor_name",
    "/metadata/version",
    "/severity_id",
    "/time",
    "/type_uid",
    "/device/type_id",
];

/// A class of OCSF 1.5: its activities, what it requires beyond [`COMMON`], and of which it demands one.
type Demand = (
    u64,
    &'static [u64],
    &'static [&'static str],
    &'static [&'static str],
);

const OCSF: &[Demand] = &[
    (0, &[0, 99], &[], &[]),
    (
        2003,
        &[0, 1, 2, 3, 99],
        &[
            "/finding_info/uid",
            "/finding_info/title",
            "/compliance/standards",
        ],
        &[],
    ),
    (
        2004,
        &[0, 1, 2, 3, 99],
        &["/finding_info/uid", "/finding_info/title"],
        &[],
    ),
    (
        3001,
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99],
        &["/user"],
        &[],
    ),
    (
        3002,
        &[0, 1, 2, 3, 4, 5, 6, 99],
        &["/user"],
        &["/service", "/dst_endpoint"],
    ),
    (
        3004,
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99],
        &["/entity/name"],
        &[],
    ),
    (
        4001,
        &[0, 1, 2, 3, 4, 5, 6, 7, 99],
        &["/connection_info/direction_id", "/action_id"],
        &["/src_endpoint", "/dst_endpoint"],
    ),
    (
        6002,
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 99],
        &["/app/vendor_name"],
        &[],
    ),
    (6008, &[0, 1, 2, 99], &["/message"], &[]),
];
