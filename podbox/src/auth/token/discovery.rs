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
    /// What is at [`CONFIGURATION_PATH`]. The keys are where the issuer is: pods reach it by that name, whatever the
    /// address by which others do.
    pub fn configuration(&self) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}{JWKS_PATH}"),
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
