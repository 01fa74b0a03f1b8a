//! Trusted outside issuers: whose JSON Web Tokens sign somebody in besides this server's own. Firebase is one.
//!
//! An issuer is trusted for what its configuration says and no more: one `iss`, one audience, one key set, the algorithms
//! named. A token is good when one of the issuer's keys, used with an algorithm that the configuration allows and the key
//! is for, signed exactly these bytes; when `iss` and `aud` fit; and while its time lasts.

mod key_set;
mod source;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use guildhall_domain::clock::{Clock, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::key_set::KeySet;
use self::source::Source;
use crate::tokens::{install_crypto, issuer_of};
use crate::verified::Fingerprint;

/// How far an issuer's clock may be from this server's.
const LEEWAY: Duration = Duration::from_secs(5);

/// The longest id of a user at an issuer, in bytes.
const LONGEST_SUBJECT: usize = 255;

/// What may be configured: signatures alone. A key set is public, so an HMAC with a key of it could be made by anybody.
const ALLOWED: [Algorithm; 7] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// One trusted issuer, as the configuration file has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// What its tokens' `aud` has to be or to contain.
    pub audience: String,
    /// Its JSON Web Key Set: an `https://` or `http://` URL, or the path of a file.
    pub jwks: String,
    /// The claim that holds the user's id; for Firebase `user_id`.
    #[serde(default = "default_user_id_claim")]
    pub user_id_claim: String,
    /// The algorithms its tokens may be signed with, of RS256, RS384, RS512, PS256, ES256, ES384 and EdDSA.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
}

fn default_user_id_claim() -> String {
    "sub".to_owned()
}

fn default_algorithms() -> Vec<String> {
    vec!["RS256".to_owned()]
}

/// Whom a verified token speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer, as configured.
    pub issuer: String,
    /// The user's id there. Nothing where the claim is missing, not a string, empty, longer than 255 bytes, or has
    /// control characters.
    pub subject: Option<String>,
    /// The user's e-mail address, only where the token says `email_verified: true`.
    pub email: Option<String>,
    /// The user's name.
    pub name: Option<String>,
    /// When the token expires; for 5 s more it is still taken.
    pub expires_at: Timestamp,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerError {
    /// It is no token of a trusted issuer for this server, or its time is not now.
    Invalid,
    /// It cannot be told: the issuer's keys cannot be had. Not the caller's fault, and it may pass.
    Unavailable,
}

impl fmt::Display for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "the token is not valid",
            Self::Unavailable => "the token cannot be verified now",
        })
    }
}

impl error::Error for IssuerError {}

/// All trusted issuers. A clone shares their key sets.
#[derive(Clone)]
pub struct Issuers {
    by_name: Arc<HashMap<String, Issuer>>,
    clock: Clock,
}

struct Issuer {
    name: String,
    user_id_claim: String,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    source: Source,
}

impl Issuers {
    /// The issuers that `configs` name. Key set files are read here; URLs are asked when the first token comes.
    ///
    /// # Errors
    /// One line that names the key of the configuration, such as `issuers[0].jwks`, and what is wrong with it.
    pub fn new(configs: Vec<IssuerConfig>, clock: Clock) -> Result<Self, String> {
        install_crypto();
        let mut by_name = HashMap::new();
        for (index, config) in configs.into_iter().enumerate() {
            let issuer = Issuer::new(config, &clock).map_err(|why| format!("issuers[{index}].{why}"))?;
            if let Some(twice) = by_name.insert(issuer.name.clone(), issuer) {
                return Err(format!("issuers[{index}].issuer: {} is configured twice", twice.name));
            }
        }
        Ok(Self { by_name: Arc::new(by_name), clock })
    }

    /// Whether tokens with this `iss` are for [`Issuers::verify`].
    #[must_use]
    pub fn knows(&self, iss: &str) -> bool {
        self.by_name.contains_key(iss)
    }

    /// Whom `token` speaks of, if an issuer's key signed it, it is for this server, and its time is now.
    ///
    /// # Errors
    /// [`IssuerError::Unavailable`] while a token that may be good cannot be verified for want of keys.
    pub async fn verify(&self, token: &str) -> Result<Identity, IssuerError> {
        // Nothing longer than 16 KiB goes past this.
        let name = issuer_of(token).ok_or(IssuerError::Invalid)?;
        let issuer = self.by_name.get(&name).ok_or(IssuerError::Invalid)?;
        let header = issuer.header(token).ok_or(IssuerError::Invalid)?;
        let mut keys = issuer.source.keys().await.ok_or(IssuerError::Unavailable)?;
        let fingerprint = Fingerprint::of(token);
        let statement = match keys.verified.get(&fingerprint) {
            Some(statement) => statement,
            None => {
                if header.kid.as_deref().is_some_and(|kid| !keys.has(kid)) {
                    keys = issuer.source.newer(&keys).await.ok_or(IssuerError::Invalid)?;
                }
                let statement = issuer.check(token, &header, &keys).ok_or(IssuerError::Invalid)?;
                keys.verified.insert(&fingerprint, Arc::clone(&statement));
                statement
            }
        };
        statement.at(self.clock.now())
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Issuer {
    fn new(config: IssuerConfig, clock: &Clock) -> Result<Self, String> {
        let filled = [
            ("issuer", &config.issuer),
            ("audience", &config.audience),
            ("jwks", &config.jwks),
            ("user_id_claim", &config.user_id_claim),
        ];
        if let Some((key, _)) = filled.iter().find(|(_, value)| value.is_empty()) {
            return Err(format!("{key}: must not be empty"));
        }
        let algorithms = algorithms(&config.algorithms).map_err(|why| format!("algorithms: {why}"))?;
        let source =
            Source::new(&config.jwks, &config.issuer, clock).map_err(|why| format!("jwks: {why}"))?;
        let mut validation = Validation::default();
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // The library would ask the machine's clock: `Statement::at` looks at the times.
        validation.validate_exp = false;
        let IssuerConfig { issuer: name, user_id_claim, .. } = config;
        Ok(Self { name, user_id_claim, algorithms, validation, source })
    }

    /// The token's header, if this issuer may sign so.
    fn header(&self, token: &str) -> Option<Header> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        // What a `crit` names must be understood, and nothing is (RFC 7515, 4.1.11).
        (self.algorithms.contains(&header.alg) && header.crit.is_none()).then_some(header)
    }

    /// Everything about a token but the time.
    fn check(&self, token: &str, header: &Header, keys: &KeySet) -> Option<Arc<Statement>> {
        let key: &DecodingKey = keys.find(header.kid.as_deref(), header.alg)?;
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).ok()?.claims;
        let subject = text(&claims, &self.user_id_claim)
            .filter(|subject| subject.len() <= LONGEST_SUBJECT && !subject.contains(char::is_control));
        let verified = claims.get("email_verified") == Some(&Value::Bool(true));
        let identity = Identity {
            issuer: self.name.clone(),
            subject,
            email: text(&claims, "email").filter(|_| verified),
            name: text(&claims, "name"),
            expires_at: instant(claims.get("exp")?)?,
        };
        let not_before = match claims.get("nbf") {
            Some(value) => Some(instant(value)?),
            None => None,
        };
        Some(Arc::new(Statement { identity, not_before }))
    }
}

/// What a token says whose signature is good.
struct Statement {
    identity: Identity,
    not_before: Option<Timestamp>,
}

impl Statement {
    fn at(&self, now: Timestamp) -> Result<Identity, IssuerError> {
        let expired = now >= self.identity.expires_at.after(LEEWAY);
        let early = self.not_before.is_some_and(|start| now.after(LEEWAY) < start);
        if expired || early { Err(IssuerError::Invalid) } else { Ok(self.identity.clone()) }
    }
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    if names.is_empty() {
        return Err("must name at least one".to_owned());
    }
    let parse = |name: &String| {
        let known = name.parse().ok().filter(|algorithm| ALLOWED.contains(algorithm));
        known.ok_or_else(|| format!("{name:?} is none of {ALLOWED:?}"))
    };
    names.iter().map(parse).collect()
}

/// A claim that is a string and not empty.
fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    claims.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A `NumericDate`: seconds since 1970, maybe with a fraction.
fn instant(value: &Value) -> Option<Timestamp> {
    // `as` keeps to the range of an i64; up to the year 2255 no microsecond is lost.
    value.as_f64().map(|seconds| Timestamp((seconds * 1e6) as i64))
}
