//! Taking the state file over from the process that kept it before, as in a rolling update.

use log::{error, info};
use shards::contract::{TenantId, TenantSpec};

use super::Control;
use crate::config::Node;
use crate::from_api::understand;
use crate::herald;
use crate::owed::News;
use crate::roster::Origin;
use crate::state_file::Claim;

impl Control {
    /// Keeps tenants from now on where another process did it until now, and goes on from what that one has left. To be called
    /// once a second.
    pub fn claim_state_file(&mut self) {
        let Some(file) = &self.state_file else {
            return;
        };
        match file.claim_again() {
            Claim::InVain => return,
            Claim::AsBefore => {}
            Claim::Changed(kept) => self.go_on_from(&kept),
        }
        if let Err(why) = self.save() {
            error!("{why}");
        }
        self.deliver();
        herald::ready(&self.status());
    }

    /// Serves the API's tenants as they are kept. What the API said of the config file's holds until that is loaded.
    fn go_on_from(&mut self, kept: &[(TenantId, Node)]) {
        let api = understand(
            kept.iter().map(|(id, written)| (id, written)),
            &self.settings,
        );
        let of_file = self
            .roster
            .iter()
            .filter(|entry| matches!(entry.origin, Origin::File));
        let of_file = of_file
            .map(|entry| TenantSpec::clone(&entry.spec))
            .collect();
        let changes = self.roster.reload(of_file, api);
        let count = changes.len();
        info!(
            "state_file: {count} tenants are others than at the start, and served as they stand there"
        );
        self.say_who_is_left_out();
        for change in changes {
            self.owed.note(News::Tenant(change));
        }
    }
}
