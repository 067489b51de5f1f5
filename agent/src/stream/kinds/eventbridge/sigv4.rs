//! Signatures of Amazon's services, version 4.
//!
//! Source: Amazon's description of the signing process for API requests. `x-amz-content-sha256` is not sent: only S3
//! wants it.

use ring::{digest, hmac};

use super::credentials::Credentials;
use crate::journal::published;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed: a POST.
pub(super) struct Request<'a> {
    /// With the port, if it is in the URL.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// Names in lower case and values, beyond host, date and token.
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a [u8],
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// The headers that a signed request has more: its date, its token, and the signature.
pub(super) fn sign(
    request: &Request<'_>,
    credentials: &Credentials,
    now_ms: u64,
) -> Vec<(&'static str, String)> {
    let (date, day) = moment(now_ms);
    let mut out = vec![("x-amz-date", date.clone())];
    if let Some(token) = &credentials.token {
        out.push(("x-amz-security-token", token.clone()));
    }
    let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
    headers.push(("host", request.host));
    headers.extend(out.iter().map(|(name, value)| (*name, value.as_str())));
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!(
        "POST\n{}\n\n{lines}\n{names}\n{}",
        request.path,
        hex(digest::digest(&digest::SHA256, request.body).as_ref())
    );
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{hashed}");
    let first = format!("AWS4{}", credentials.secret);
    let key = [&day, request.region, request.service, "aws4_request"]
        .into_iter()
        .fold(first.into_bytes(), |key, part| mac(&key, part.as_bytes()));
    let signature = hex(&mac(&key, to_sign.as_bytes()));
    out.push((
        "authorization",
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            credentials.key
        ),
    ));
    out
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20231114T221320Z` and `20231114`.
fn moment(now_ms: u64) -> (String, String) {
    let text = published(now_ms);
    let seconds = text.split('.').next().unwrap_or_default();
    let plain: String = seconds.chars().filter(|it| !"-:".contains(*it)).collect();
    let day = plain.split('T').next().unwrap_or_default().to_owned();
    (format!("{plain}Z"), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-x-www-form-urlencoded` of Amazon's test suite for signatures.
    #[test]
    fn a_signature_is_that_of_amazons_test_suite() {
        let credentials = Credentials {
            key: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        };
        let request = Request {
            host: "example.amazonaws.com",
            path: "/",
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: b"Param1=value1",
            region: "us-east-1",
            service: "service",
        };
        // 2015-08-30 12:36:00
        let signed = sign(&request, &credentials, 1_440_938_160_000);
        assert_eq!(signed[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        assert_eq!(signed[1], ("authorization", expected.to_owned()));
    }

    #[test]
    fn a_session_is_signed_with_its_token() {
        let credentials = Credentials {
            key: "A".to_owned(),
            secret: "s".to_owned(),
            token: Some("t".to_owned()),
        };
        let request = Request {
            host: "h",
            path: "/",
            headers: &[],
            body: b"",
            region: "r",
            service: "s",
        };
        let signed = sign(&request, &credentials, 0);
        assert_eq!(signed[1], ("x-amz-security-token", "t".to_owned()));
        assert!(
            signed[2]
                .1
                .contains("SignedHeaders=host;x-amz-date;x-amz-security-token")
        );
    }
}
