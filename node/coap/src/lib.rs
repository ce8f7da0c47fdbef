//! CoAP (RFC 7252, 7641, 7959, 8132), sans-IO.
