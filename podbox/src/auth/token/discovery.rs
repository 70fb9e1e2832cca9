//! How others find the key that verifies tokens: OpenID Connect's two documents. Pure.

use super::{ISSUER, Tokens};
use serde_json::{Value, json};

/// Where the configuration is.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub const JWKS_PATH: &str = "/openid/v1/jwks";
/// Their media type.
pub const JWKS_TYPE: &str = "application/jwk-set+json";

impl Tokens {
    /// What is at [`CONFIGURATION_PATH`] of an API that is reached at this address (`192.0.2.1:6443`).
    pub fn configuration(&self, address: &str) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("https://{address}{JWKS_PATH}"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// What is at [`JWKS_PATH`].
    pub fn keys(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }
}
