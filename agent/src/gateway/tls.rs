//! Certificates: read whole, before anything uses them, and swapped as one value. A connection keeps what
//! it began with; new ones take what is there.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::config::{Certificate, Gateway, Service, UpstreamProtocol, tls};

/// TLS of every service that has some, by the service's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Material(HashMap<String, ServiceTls>);

/// TLS of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceTls {
    /// Present if TLS ends here.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// Present if the upstream speaks TLS, with a number that no other has.
    pub(super) client: Option<(Arc<ClientConfig>, u64)>,
}

/// Why certificates cannot be used.
#[derive(Debug)]
pub(crate) struct MaterialError {
    service: String,
    what: String,
}

impl Material {
    /// Reads what the services need.
    ///
    /// # Errors
    /// Every mistake, with its service and file.
    pub(crate) fn read(services: &[Service]) -> Result<Self, Vec<MaterialError>> {
        let mut material = HashMap::new();
        let mut errors = Vec::new();
        for service in services {
            let Some(gateway) = &service.gateway else {
                continue;
            };
            match read_service(gateway) {
                Ok(tls) => {
                    material.insert(service.name.clone(), tls);
                }
                Err(what) => errors.push(MaterialError {
                    service: service.name.clone(),
                    what,
                }),
            }
        }
        if errors.is_empty() {
            Ok(Self(material))
        } else {
            Err(errors)
        }
    }

    pub(super) fn service(&self, name: &str) -> Option<&ServiceTls> {
        self.0.get(name)
    }
}

fn read_service(gateway: &Gateway) -> Result<ServiceTls, String> {
    let keys = gateway
        .certificates
        .iter()
        .map(certified_key)
        .collect::<Result<Vec<_>, _>>()?;
    let client = gateway
        .upstream_tls
        .then(|| client_config(gateway, &keys))
        .transpose()?
        .map(|config| (Arc::new(config), NUMBER.fetch_add(1, Relaxed)));
    let server = match keys.is_empty() {
        true => None,
        false => Some(Arc::new(server_config(keys)?)),
    };
    Ok(ServiceTls { server, client })
}

fn server_config(keys: Vec<Arc<CertifiedKey>>) -> Result<ServerConfig, String> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(keys)));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    Ok(config)
}

fn client_config(gateway: &Gateway, keys: &[Arc<CertifiedKey>]) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match &gateway.upstream_ca {
        Some(path) => {
            let roots = tls::roots(path).map_err(|what| format!("{} {what}", path.display()))?;
            builder.with_root_certificates(roots)
        }
        None => {
            let pinned = keys
                .iter()
                .filter_map(|key| key.cert.first().cloned())
                .map(CertificateDer::into_owned)
                .collect();
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned(pinned)))
        }
    }
    .with_no_client_auth();
    config.alpn_protocols = match gateway.upstream_protocol {
        UpstreamProtocol::Http1 => vec![HTTP_1_1.to_vec()],
        UpstreamProtocol::Http2 => vec![H2.to_vec()],
    };
    Ok(config)
}

fn certified_key(files: &Certificate) -> Result<Arc<CertifiedKey>, String> {
    tls::certified_key(files).map(Arc::new).map_err(|faults| {
        let faults: Vec<String> = faults
            .iter()
            .map(|fault| {
                let file = match fault.part {
                    tls::Part::Certificate => &files.certificate,
                    tls::Part::Key => &files.key,
                };
                format!("{} {}", file.display(), fault.what)
            })
            .collect();
        faults.join("; ")
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The first certificate that has the name; the first of all for names that none has.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| {
            let name = ServerName::try_from(name).ok()?;
            self.0.iter().find(|key| has_name(key, &name))
        });
        named.or_else(|| self.0.first()).cloned()
    }
}

fn has_name(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.cert
        .first()
        .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// The upstream must present one of these certificates: it is the same server, one port further.
#[derive(Debug)]
struct Pinned(Vec<CertificateDer<'static>>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.0.iter().any(|pinned| pinned == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(
            rustls::CertificateError::UnknownIssuer,
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl fmt::Display for MaterialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}: gateway: {}", self.service, self.what)
    }
}

impl std::error::Error for MaterialError {}

/// By ALPN.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
/// Numbers of client settings.
static NUMBER: AtomicU64 = AtomicU64::new(0);
