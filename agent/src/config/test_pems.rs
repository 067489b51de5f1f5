//! Certificates and keys for tests of the configuration, made with OpenSSL. They protect nothing.

/// `a.example`, version 3, from 2020 until 2120.
pub(super) const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBDzCBwqADAgECAgEEMAUGAytlcDAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwIBcN\n\
MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWEuZXhh\n\
bXBsZTAqMAUGAytlcAMhAGi6sZ6NhA7hSGP35OCMYRIgISWEqgeP8sl4oECRWoSU\n\
ozcwNTAUBgNVHREEDTALgglhLmV4YW1wbGUwHQYDVR0OBBYEFM2ufjkyDXm62996\n\
WPeabW09wn/IMAUGAytlcANBAIOKzuh3tb6YWD5K1zbcIEvBZKAQwGpV0wsJGbCx\n\
QqMnUi6/5q97JspExb9F3T7LM5o98jzs6RsNygyCqQxzBAA=\n\
-----END CERTIFICATE-----\n";

/// Its key.
pub(super) const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIHx0TxnTZ/OAiV+FQMNSFSNk1qUtpqPqTK7Z28bPUGWi\n\
-----END PRIVATE KEY-----\n";

/// A key of nobody.
pub(super) const OTHER_KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIOvE75/SYiSK7BaddXhDpcwh8N42f34nI/MBqi0wKmU/\n\
-----END PRIVATE KEY-----\n";

/// The first key, encrypted.
pub(super) const ENCRYPTED_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgntypvm6wOcgICCAAw\n\
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEK/31DMB9HlC1uzpvqbRNgQEQBrW\n\
a7/2ipfA2XjEwVRoUTqWZaaR8BNQdKyTxpVetKoDG06VdM+pnixHgHbP5bkOgvwD\n\
XWxfAEQSVz9K+W5n6KM=\n\
-----END ENCRYPTED PRIVATE KEY-----\n";

/// `old.example`, version 1, from the last second of 1999 until noon of 29 February 2024.
pub(super) const EXPIRED: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIHTMIGGAgEDMAUGAytlcDAWMRQwEgYDVQQDDAtvbGQuZXhhbXBsZTAeFw05OTEy\n\
MzEyMzU5NTlaFw0yNDAyMjkxMjAwMDBaMBYxFDASBgNVBAMMC29sZC5leGFtcGxl\n\
MCowBQYDK2VwAyEAEivwAOK3ZDOtn2oRTkRNbVDBjvdoPQ8O8vuec+cwAcgwBQYD\n\
K2VwA0EAs1DTNYd5/GsnbvmMfp8dqiVN7HNv6XzXBfFwPHB0SFyhiJDN5cUdwOw+\n\
tlcTJVxlJ6zjHoLUWFG4pWCpVbCCBw==\n\
-----END CERTIFICATE-----\n";
