//! Alerts (RFC 5246 §7.2), and which one tells of which error.

use crate::wire::Malformed;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AlertLevel {
    /// The association goes on, except after close_notify.
    Warning = 1,
    /// The association ends, and its session is not resumed.
    Fatal = 2,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlertDescription(pub u8);

macro_rules! descriptions {
    ($($name:ident = $code:literal $text:literal,)*) => {
        #[allow(missing_docs, reason = "the names of RFC 5246 §7.2 and its extensions")]
        impl AlertDescription {
            $(pub const $name: AlertDescription = AlertDescription($code);)*

            /// As the specification writes it; "unknown" if no specification does.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => $text,)*
                    _ => "unknown",
                }
            }
        }
    };
}

descriptions! {
    CLOSE_NOTIFY = 0 "close_notify",
    UNEXPECTED_MESSAGE = 10 "unexpected_message",
    BAD_RECORD_MAC = 20 "bad_record_mac",
    RECORD_OVERFLOW = 22 "record_overflow",
    HANDSHAKE_FAILURE = 40 "handshake_failure",
    BAD_CERTIFICATE = 42 "bad_certificate",
    UNSUPPORTED_CERTIFICATE = 43 "unsupported_certificate",
    CERTIFICATE_REVOKED = 44 "certificate_revoked",
    CERTIFICATE_EXPIRED = 45 "certificate_expired",
    CERTIFICATE_UNKNOWN = 46 "certificate_unknown",
    ILLEGAL_PARAMETER = 47 "illegal_parameter",
    UNKNOWN_CA = 48 "unknown_ca",
    ACCESS_DENIED = 49 "access_denied",
    DECODE_ERROR = 50 "decode_error",
    DECRYPT_ERROR = 51 "decrypt_error",
    PROTOCOL_VERSION = 70 "protocol_version",
    INSUFFICIENT_SECURITY = 71 "insufficient_security",
    INTERNAL_ERROR = 80 "internal_error",
    USER_CANCELED = 90 "user_canceled",
    NO_RENEGOTIATION = 100 "no_renegotiation",
    UNSUPPORTED_EXTENSION = 110 "unsupported_extension",
    UNKNOWN_PSK_IDENTITY = 115 "unknown_psk_identity",
}

impl std::fmt::Debug for AlertDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl std::fmt::Display for AlertDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The two bytes of an alert record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// First byte.
    pub level: AlertLevel,
    /// Second byte; any value.
    pub description: AlertDescription,
}

impl Alert {
    /// The orderly end. RFC 5246 §7.2.1: a warning.
    pub const CLOSE_NOTIFY: Alert = Alert::warning(AlertDescription::CLOSE_NOTIFY);

    /// One that ends the association.
    pub const fn fatal(description: AlertDescription) -> Self {
        Alert { level: AlertLevel::Fatal, description }
    }

    /// One that does not, such as no_renegotiation.
    pub const fn warning(description: AlertDescription) -> Self {
        Alert { level: AlertLevel::Warning, description }
    }

    /// Of one record's plaintext: exactly two bytes. Nobody sends two alerts in one record.
    pub fn parse(record: &[u8]) -> Result<Self, Malformed> {
        let &[level, description] = record else {
            return Err(Malformed::VectorLength(record.len()));
        };
        let level = match level {
            1 => AlertLevel::Warning,
            2 => AlertLevel::Fatal,
            other => return Err(Malformed::IllegalValue(other.into())),
        };
        Ok(Alert { level, description: AlertDescription(description) })
    }

    /// Level and description.
    pub fn to_bytes(self) -> [u8; 2] {
        [self.level as u8, self.description.0]
    }

    /// Whether no session survives it.
    pub fn is_fatal(self) -> bool {
        self.level == AlertLevel::Fatal
    }
}

/// An error that its peer is told of.
pub trait Tell {
    /// What the fatal alert says.
    fn alert(&self) -> AlertDescription;
}

impl Tell for Malformed {
    fn alert(&self) -> AlertDescription {
        match self {
            Malformed::DuplicateExtension(_) | Malformed::IllegalValue(_) => {
                AlertDescription::ILLEGAL_PARAMETER
            }
            Malformed::Truncated { .. }
            | Malformed::Trailing(_)
            | Malformed::VectorLength(_)
            | Malformed::FragmentRange { .. }
            | Malformed::TooMany(_)
            | Malformed::Extension(_) => AlertDescription::DECODE_ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_two_bytes_and_keeps_what_it_does_not_know() {
        let strange = Alert::parse(&[2, 199]).unwrap();
        assert_eq!(strange.to_bytes(), [2, 199]);
        assert_eq!(strange.description.name(), "unknown");
        assert_eq!(Alert::parse(&[1, 0]), Ok(Alert::CLOSE_NOTIFY));
        assert_eq!(Alert::parse(&[1]), Err(Malformed::VectorLength(1)));
        assert_eq!(Alert::parse(&[1, 0, 0]), Err(Malformed::VectorLength(3)));
        assert_eq!(Alert::parse(&[3, 0]), Err(Malformed::IllegalValue(3)));
    }
}
