//! Signed tokens in their compact form (RFC 7515), with the one algorithm that podbox uses: ES256. Pure.
//!
//! The algorithm is never the token's to choose: a header that names another, or another key, is refused.

use crate::limits;
use data_encoding::BASE64URL_NOPAD as BASE64;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

/// Before a point of the curve, it makes a public key in DER: the algorithm, the curve, a bit string (RFC 5480).
const PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ALGORITHM: &str = "ES256";

/// The key that signs tokens cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key that signs service accounts' tokens, pki/sa.key in the state directory, is no P-256 key in PKCS #8; move it away to begin with a new one, which ends all tokens"
)]
pub struct KeyError;

/// The key that signs and verifies.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    id: String,
    chance: SystemRandom,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    crit: Option<Value>,
}

impl Key {
    pub(super) fn read(pem: &str) -> Result<Key, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError)?;
        let chance = SystemRandom::new();
        let form = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(form, der.secret_pkcs8_der(), &chance).map_err(|_| KeyError)?;
        let public = [&PREFIX[..], pair.public_key().as_ref()].concat();
        let id = BASE64.encode(digest(&SHA256, &public).as_ref());
        Ok(Key { pair, id, chance })
    }

    /// A token with this payload. `None` if the system has no chance to give.
    pub(super) fn sign(&self, payload: &[u8]) -> Option<String> {
        let header = json!({"alg": ALGORITHM, "kid": self.id}).to_string();
        let mut token = format!("{}.{}", BASE64.encode(header.as_bytes()), BASE64.encode(payload));
        let signature = self.pair.sign(&self.chance, token.as_bytes()).ok()?;
        token.push('.');
        BASE64.encode_append(signature.as_ref(), &mut token);
        Some(token)
    }

    /// The payload of a token that this key signed.
    pub(super) fn verify(&self, token: &str) -> Option<Vec<u8>> {
        if token.len() > limits::TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.alg != ALGORITHM || header.kid != self.id || header.crit.is_some() {
            return None;
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        public.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        decode(payload)
    }

    /// The public key, as a JSON web key.
    pub(super) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        // A byte that says that both coordinates follow; each has 32 bytes.
        let coordinate = |from: usize| BASE64.encode(point.get(from..from + 32).unwrap_or_default());
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": coordinate(1), "y": coordinate(33),
        })
    }
}
