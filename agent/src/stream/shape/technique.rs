//! What detections are in the words of MITRE ATT&CK (Enterprise).

/// A technique with its tactic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Technique {
    pub(super) tactic: Named,
    pub(super) technique: Named,
    pub(super) sub_technique: Option<Named>,
}

/// An id and a name of ATT&CK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
}

/// The technique that a detection is about.
pub(super) fn of(detection: &str) -> Option<Technique> {
    let brute_force = |sub: Option<(&'static str, &'static str)>| Technique {
        tactic: CREDENTIAL_ACCESS,
        technique: BRUTE_FORCE,
        sub_technique: sub.map(|(id, name)| Named { id, name }),
    };
    Some(match detection {
        "Brute Force" => brute_force(Some(("T1110.001", "Password Guessing"))),
        "Password Spray" => brute_force(Some(("T1110.003", "Password Spraying"))),
        "Credential Stuffing" => brute_force(Some(("T1110.004", "Credential Stuffing"))),
        "Login Failures" | "Login failures with high unknown users count" => brute_force(None),
        "Account Enumeration" => Technique {
            tactic: RECONNAISSANCE,
            technique: GATHER_IDENTITIES,
            sub_technique: None,
        },
        _ => return None,
    })
}

const CREDENTIAL_ACCESS: Named = Named {
    id: "TA0006",
    name: "Credential Access",
};
const RECONNAISSANCE: Named = Named {
    id: "TA0043",
    name: "Reconnaissance",
};
const BRUTE_FORCE: Named = Named {
    id: "T1110",
    name: "Brute Force",
};
const GATHER_IDENTITIES: Named = Named {
    id: "T1589",
    name: "Gather Victim Identity Information",
};
