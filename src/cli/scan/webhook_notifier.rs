//! The webhook of a scan, where one was asked for and this build has one.

use super::args::ScanArgs;
use crate::report::summary::Summary;

#[cfg(all(feature = "store", feature = "online"))]
mod online {
    use std::time::Duration;

    use super::*;
    use crate::cli::scan::args::Redact;
    use crate::fleet::webhook::{Endpoint, Webhook, check};

    /// The variable that holds the key of the signature.
    const SECRET: &str = "KBTRIAGE_WEBHOOK_SECRET";

    /// A webhook, or none.
    pub struct WebhookNotifier(Option<Webhook>);

    impl WebhookNotifier {
        /// Starts the webhook that was asked for.
        ///
        /// # Errors
        /// A line for a person.
        pub fn start(args: &ScanArgs) -> Result<WebhookNotifier, String> {
            let Some(url) = &args.store.webhook else {
                return Ok(WebhookNotifier(None));
            };
            check(url).map_err(|error| format!("--webhook: {error}"))?;
            let secret = std::env::var(SECRET).unwrap_or_default();
            if secret.is_empty() {
                return Err(format!(
                    "--webhook: {SECRET} has to hold the key to sign with"
                ));
            }
            let target = Endpoint {
                url: url.clone(),
                secret: secret.into_bytes(),
                without_machine: args.store.redact.contains(&Redact::Machine),
                without_path: args.store.redact.contains(&Redact::Path),
                pause: Duration::from_millis(500),
            };
            Webhook::start(target)
                .map(|webhook| WebhookNotifier(Some(webhook)))
                .map_err(|error| format!("--webhook: {error}"))
        }

        /// True when there is one.
        pub fn is_on(&self) -> bool {
            self.0.is_some()
        }

        /// Tells about one dump.
        pub fn tell(&self, summary: &Summary) {
            if let Some(webhook) = &self.0 {
                webhook.tell(summary);
            }
        }

        /// What to say behind the number of findings that could not be told.
        pub fn hint(&self) -> String {
            let script = self.0.as_ref().and_then(Webhook::unrun_script);
            script.map_or_else(String::new, |why| format!("; {why}"))
        }

        /// Tells what waits, and gives the number of findings that could not be told.
        pub fn finish(self, interrupted: &dyn Fn() -> bool) -> u64 {
            self.0.map_or(0, |webhook| webhook.finish(interrupted))
        }
    }
}

#[cfg(not(all(feature = "store", feature = "online")))]
mod offline {
    use super::*;

    /// No webhook in this build.
    pub struct WebhookNotifier;

    impl WebhookNotifier {
        /// There is nothing to start.
        pub fn start(_: &ScanArgs) -> Result<WebhookNotifier, String> {
            Ok(WebhookNotifier)
        }

        /// Never.
        pub fn is_on(&self) -> bool {
            false
        }

        /// Tells nobody.
        pub fn tell(&self, _: &Summary) {}

        /// Nothing.
        pub fn hint(&self) -> String {
            String::new()
        }

        /// Nothing was left untold.
        pub fn finish(self, _: &dyn Fn() -> bool) -> u64 {
            0
        }
    }
}

#[cfg(not(all(feature = "store", feature = "online")))]
pub use offline::WebhookNotifier;
#[cfg(all(feature = "store", feature = "online"))]
pub use online::WebhookNotifier;
