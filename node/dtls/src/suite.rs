//! The cipher suites, in order of preference, and what each needs.

/// How a suite protects records. Encrypt-then-MAC (RFC 7366) is agreed beside the suite, and belongs to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-128-CCM with an 8-byte tag (RFC 6655).
    Ccm8,
    /// AES-128-GCM (RFC 5288).
    Gcm,
    /// AES-128-CBC, MAC-then-encrypt with HMAC-SHA-256 (RFC 5246 §6.2.3.2).
    Cbc,
    /// The same, encrypt-then-MAC (RFC 7366).
    CbcEtm,
}

impl Cipher {
    /// Whether encryption and authentication are one; encrypt_then_mac is never answered for these.
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::Ccm8 | Self::Gcm)
    }

    /// Bytes of each MAC key in the key block.
    pub const fn mac_key_len(self) -> usize {
        if self.is_aead() { 0 } else { 32 }
    }

    /// Bytes of each fixed IV (salt) in the key block; CBC's IVs travel in the records.
    pub const fn fixed_iv_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// The most bytes that protection adds to a plaintext, header and Connection ID aside.
    pub const fn expansion(self) -> usize {
        match self {
            Self::Ccm8 => 8 + 8,
            Self::Gcm => 8 + 16,
            // IV, MAC and a whole block of padding.
            Self::Cbc | Self::CbcEtm => 16 + 32 + 16,
        }
    }

    /// The number that [`crate::protection::Keys`] are stored with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ccm8 => 1,
            Self::Gcm => 2,
            Self::Cbc => 3,
            Self::CbcEtm => 4,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Ccm8),
            2 => Some(Self::Gcm),
            3 => Some(Self::Cbc),
            4 => Some(Self::CbcEtm),
            _ => None,
        }
    }
}

/// How the two sides prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// A pre-shared key (RFC 4279).
    Psk,
    /// ECDHE signed with ECDSA over P-256; raw public keys or X.509.
    Ecdsa,
}

/// A cipher suite that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 (RFC 7251).
    EcdheEcdsaAes128Ccm8,
    /// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 (RFC 5289).
    EcdheEcdsaAes128Gcm,
    /// TLS_PSK_WITH_AES_128_CCM_8 (RFC 6655).
    PskAes128Ccm8,
    /// TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 (RFC 5289).
    EcdheEcdsaAes128Cbc,
    /// TLS_PSK_WITH_AES_128_CBC_SHA256 (RFC 5487).
    PskAes128Cbc,
}

impl CipherSuite {
    /// All, the preferred first: AEAD before CBC, certificates before pre-shared keys.
    pub const ALL: [Self; 5] = [
        Self::EcdheEcdsaAes128Ccm8,
        Self::EcdheEcdsaAes128Gcm,
        Self::PskAes128Ccm8,
        Self::EcdheEcdsaAes128Cbc,
        Self::PskAes128Cbc,
    ];

    /// The registered number.
    pub const fn id(self) -> u16 {
        match self {
            Self::EcdheEcdsaAes128Ccm8 => 0xc0ae,
            Self::EcdheEcdsaAes128Gcm => 0xc02b,
            Self::PskAes128Ccm8 => 0xc0a8,
            Self::EcdheEcdsaAes128Cbc => 0xc023,
            Self::PskAes128Cbc => 0x00ae,
        }
    }

    /// The suite of a number, if we speak it.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// The name in the TLS registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdheEcdsaAes128Ccm8 => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
            Self::EcdheEcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::PskAes128Ccm8 => "TLS_PSK_WITH_AES_128_CCM_8",
            Self::EcdheEcdsaAes128Cbc => "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
            Self::PskAes128Cbc => "TLS_PSK_WITH_AES_128_CBC_SHA256",
        }
    }

    /// How the two sides prove who they are.
    pub const fn authentication(self) -> Authentication {
        match self {
            Self::PskAes128Ccm8 | Self::PskAes128Cbc => Authentication::Psk,
            Self::EcdheEcdsaAes128Ccm8 | Self::EcdheEcdsaAes128Gcm | Self::EcdheEcdsaAes128Cbc => {
                Authentication::Ecdsa
            }
        }
    }

    /// How records are protected; `encrypt_then_mac` (both sides said it) matters for CBC alone.
    pub const fn cipher(self, encrypt_then_mac: bool) -> Cipher {
        match self {
            Self::EcdheEcdsaAes128Ccm8 | Self::PskAes128Ccm8 => Cipher::Ccm8,
            Self::EcdheEcdsaAes128Gcm => Cipher::Gcm,
            Self::EcdheEcdsaAes128Cbc | Self::PskAes128Cbc if encrypt_then_mac => Cipher::CbcEtm,
            Self::EcdheEcdsaAes128Cbc | Self::PskAes128Cbc => Cipher::Cbc,
        }
    }

    /// Whether this is one of the suites that the configuration can turn off.
    pub const fn is_cbc(self) -> bool {
        !self.cipher(false).is_aead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_suites_map_both_ways() {
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_id(suite.id()), Some(suite));
        }
        assert_eq!(CipherSuite::from_id(0x00ff), None);
    }

    #[test]
    fn aead_suites_come_before_cbc_ones_of_their_kind() {
        for kind in [Authentication::Psk, Authentication::Ecdsa] {
            let of_kind: Vec<_> =
                CipherSuite::ALL.into_iter().filter(|s| s.authentication() == kind).collect();
            assert!(of_kind.windows(2).all(|pair| pair[0].is_cbc() <= pair[1].is_cbc()));
        }
    }
}
