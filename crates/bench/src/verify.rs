//! Ed25519 verifications a second on one thread: what a server without any other work could do on one core.
//!
//! One key signs many distinct messages of 32 bytes, as an agent signs event hashes; each is verified alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bowline_ves::{Hash, PreparedKey, SecretKey, Signature, VerifyKey};
use clap::Args;
use serde_json::json;

use crate::settings::Settings;
use crate::shown;

/// Distinct messages; more than any cache of decisions would keep.
const MESSAGES: u64 = 8_192;

/// `bowline-bench verify` and `bowline-bench prepared`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// How a signature is verified.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Single,
    Prepared,
}

pub(crate) fn run(settings: &Settings, options: Options, method: Method) -> Result<()> {
    let secret = SecretKey::random()?;
    let key = secret.public();
    let signed: Vec<(Hash, Signature)> = (0..MESSAGES)
        .map(|number| {
            let mut message = [0x5a; 32];
            message[..8].copy_from_slice(&number.to_be_bytes());
            (Hash::new(message), secret.sign(&message))
        })
        .collect();
    let duration = Duration::from_secs(options.seconds);
    let per_sec = match method {
        Method::Single => rate(&key, &signed, duration),
        Method::Prepared => rate(&PreparedKey::wide(key), &signed, duration),
    };
    let per_sec = per_sec.context("a valid signature was refused")?;
    match settings.is_json() {
        true => shown::line(&json!({"verify_per_sec": (per_sec * 10.0).round() / 10.0}).to_string())?,
        false => shown::table(
            ["verifications/s", "microseconds each"],
            [[format!("{per_sec:.0}"), format!("{:.1}", 1e6 / per_sec)]],
        )?,
    }
    Ok(())
}

/// Verifications a second; nothing if one of them failed.
fn rate(key: &impl VerifyKey, signed: &[(Hash, Signature)], duration: Duration) -> Option<f64> {
    let start = Instant::now();
    let mut count: u64 = 0;
    while start.elapsed() < duration {
        // Looking at the clock costs nothing beside 64 verifications.
        for at in 0..64 {
            let (message, signature) = &signed[((count + at) % signed.len() as u64) as usize];
            if !black_box(key.verify(black_box(message.as_bytes()), signature)) {
                return None;
            }
        }
        count += 64;
    }
    Some(count as f64 / start.elapsed().as_secs_f64())
}
