//! Request methods and response codes (RFC 7252 §12.1, RFC 8132 §6).

use std::fmt;

/// A request method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Method {
    /// 0.01
    Get = 1,
    /// 0.02
    Post = 2,
    /// 0.03
    Put = 3,
    /// 0.04
    Delete = 4,
    /// 0.05, RFC 8132
    Fetch = 5,
    /// 0.06, RFC 8132
    Patch = 6,
    /// 0.07, RFC 8132: a PATCH that may be repeated
    IPatch = 7,
}

impl Method {
    /// The method of a code of class 0; `None` for one that is not known, which is answered by 4.05.
    pub const fn from_code(code: Code) -> Option<Self> {
        Some(match code.0 {
            1 => Self::Get,
            2 => Self::Post,
            3 => Self::Put,
            4 => Self::Delete,
            5 => Self::Fetch,
            6 => Self::Patch,
            7 => Self::IPatch,
            _ => return None,
        })
    }

    /// The code that stands for this method on the wire.
    pub const fn code(self) -> Code {
        Code(self as u8)
    }

    /// Whether a request changes nothing at the server (RFC 7252 §5.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Fetch)
    }
}

/// A code: three bits of class, five of detail. `Display` writes `2.05`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u8);

macro_rules! codes {
    ($($name:ident = $class:literal . $detail:literal $text:literal;)*) => {
        impl Code {
            $(
                #[doc = concat!($text, ".")]
                pub const $name: Self = Self($class << 5 | $detail);
            )*

            /// The name of a registered code in words, for people; `None` for others.
            pub const fn name(self) -> Option<&'static str> {
                Some(match self {
                    $(Self::$name => $text,)*
                    _ => return None,
                })
            }
        }
    };
}

codes! {
    EMPTY = 0 . 0 "Empty";
    CREATED = 2 . 1 "Created";
    DELETED = 2 . 2 "Deleted";
    VALID = 2 . 3 "Valid";
    CHANGED = 2 . 4 "Changed";
    CONTENT = 2 . 5 "Content";
    CONTINUE = 2 . 31 "Continue";
    BAD_REQUEST = 4 . 0 "Bad Request";
    UNAUTHORIZED = 4 . 1 "Unauthorized";
    BAD_OPTION = 4 . 2 "Bad Option";
    FORBIDDEN = 4 . 3 "Forbidden";
    NOT_FOUND = 4 . 4 "Not Found";
    METHOD_NOT_ALLOWED = 4 . 5 "Method Not Allowed";
    NOT_ACCEPTABLE = 4 . 6 "Not Acceptable";
    REQUEST_ENTITY_INCOMPLETE = 4 . 8 "Request Entity Incomplete";
    CONFLICT = 4 . 9 "Conflict";
    PRECONDITION_FAILED = 4 . 12 "Precondition Failed";
    REQUEST_ENTITY_TOO_LARGE = 4 . 13 "Request Entity Too Large";
    UNSUPPORTED_CONTENT_FORMAT = 4 . 15 "Unsupported Content-Format";
    UNPROCESSABLE_ENTITY = 4 . 22 "Unprocessable Entity";
    TOO_MANY_REQUESTS = 4 . 29 "Too Many Requests";
    INTERNAL_SERVER_ERROR = 5 . 0 "Internal Server Error";
    NOT_IMPLEMENTED = 5 . 1 "Not Implemented";
    BAD_GATEWAY = 5 . 2 "Bad Gateway";
    SERVICE_UNAVAILABLE = 5 . 3 "Service Unavailable";
    GATEWAY_TIMEOUT = 5 . 4 "Gateway Timeout";
    PROXYING_NOT_SUPPORTED = 5 . 5 "Proxying Not Supported";
    HOP_LIMIT_REACHED = 5 . 8 "Hop Limit Reached";
}

impl Code {
    /// The class, 0 to 7.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The detail, 0 to 31.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Whether this is a success of class 2.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// Whether this is a request code (class 0, not empty), of a known method or not.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether this is a response code (classes 2, 4 and 5).
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_with_two_digits_of_detail() {
        assert_eq!(Code::CONTENT.to_string(), "2.05");
        assert_eq!(Code::CONTINUE.to_string(), "2.31");
        assert_eq!(Code(0xff).to_string(), "7.31");
    }

    #[test]
    fn methods_and_codes_map_both_ways() {
        for code in 1..=7 {
            let method = Method::from_code(Code(code)).unwrap();
            assert_eq!(method.code(), Code(code));
        }
        assert_eq!(Method::from_code(Code(8)), None);
        assert_eq!(Method::from_code(Code::EMPTY), None);
    }
}
