//! Certificates and keys in PEM files: read for a look when the configuration is, and by the gateway for use.
//!
//! Nothing of a key's content gets into a message.

use std::{os::unix::fs::MetadataExt, path::Path, time::SystemTime};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use tokio_rustls::rustls::{self, RootCertStore, sign::CertifiedKey};

use super::{Certificate, getters::read_small, validity};

/// Longest PEM file, in bytes: a bundle of every root there is takes a quarter of it.
pub const PEM_BYTES_MAX: usize = 1 << 20;
/// Most certificates of one chain.
pub const CHAIN_MAX: usize = 16;

/// Which file of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The chain.
    Certificate,
    /// The private key.
    Key,
}

/// What is wrong, or doubtful, with one of the two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub part: Part,
    /// A sentence to be put behind the file's name.
    pub what: String,
}

/// Reads a chain and its key and sees that they fit together.
///
/// # Errors
/// What is wrong with each of the two files.
pub fn certified_key(files: &Certificate) -> Result<CertifiedKey, Vec<Fault>> {
    let fault = |part| move |what| Fault { part, what };
    let chain = chain(&files.certificate).map_err(fault(Part::Certificate));
    let key = key(&files.key).map_err(fault(Part::Key));
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let what =
            "holds a key of a kind that cannot be used; use RSA, ECDSA (P-256, P-384) or Ed25519";
        vec![fault(Part::Key)(what.to_owned())]
    })?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(pair)
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            let what = "does not belong to the first certificate of the chain";
            Err(vec![fault(Part::Key)(what.to_owned())])
        }
        Err(_) => {
            let what = "begins with a certificate that cannot be read";
            Err(vec![fault(Part::Certificate)(what.to_owned())])
        }
    }
}

/// What does not keep the pair from being used: a key that others may read, a certificate at its end.
#[must_use]
pub fn doubts(files: &Certificate) -> Vec<Fault> {
    let mut out = Vec::new();
    // World-readable only: keys are shared with a group on purpose.
    if std::fs::metadata(&files.key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
        let what =
            "may be read or changed by every account of this host; take that away with chmod o=";
        out.push(Fault {
            part: Part::Key,
            what: what.to_owned(),
        });
    }
    let first = chain(&files.certificate)
        .ok()
        .and_then(|chain| chain.into_iter().next());
    let what = first.and_then(|first| validity::read(&first)?.doubt(SystemTime::now()));
    if let Some(what) = what {
        out.push(Fault {
            part: Part::Certificate,
            what,
        });
    }
    out
}

/// Certificates that an upstream's must chain to.
///
/// # Errors
/// A sentence to be put behind the file's name.
pub fn roots(file: &Path) -> Result<RootCertStore, String> {
    let bytes = read_small(file, PEM_BYTES_MAX)?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(&bytes)? {
        store
            .add(certificate)
            .map_err(|_| "holds a certificate that cannot be read".to_owned())?;
    }
    Ok(store)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_small(file, PEM_BYTES_MAX)?;
    let chain = certificates(&bytes)?;
    if chain.len() > CHAIN_MAX {
        return Err(format!(
            "holds {} certificates; a chain has at most {CHAIN_MAX}",
            chain.len()
        ));
    }
    Ok(chain)
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| "is damaged: a PEM section in it cannot be read".to_owned())?;
    if all.is_empty() {
        return Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(all)
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read_small(file, PEM_BYTES_MAX)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "holds no private key in PEM, PKCS#8, PKCS#1 or SEC 1, that is not encrypted".to_owned()
        }
        _ => "is damaged: a PEM section in it cannot be read".to_owned(),
    })
}
