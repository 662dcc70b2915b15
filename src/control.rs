//! What the process wants and what it has told the shards: owned by one thread, the control thread.
//!
//! It never waits for a shard: it sends, and whoever asked (see [`crate::desk`]) waits for the answer.

mod takeover;

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};
use log::{Level, error, info, log, warn};
use shards::contract::{Command, Reply, SessionId, ShardId, Steering, TenantId};

use crate::api::{
    InForce, Put, Refused, Reloaded, When, kept_for_another, lost, secret_of_the_defaults,
    with_kept_secrets,
};
use crate::config::{self, Complaint, Node, Settings, settle_tenant};
use crate::expiry::Expiry;
use crate::fleet::{Answer, Fleet};
use crate::from_api::understand;
use crate::herald;
use crate::owed::{News, Owed};
use crate::restart::keep_what_needs_a_restart;
use crate::roster::{Before, Change, Entry, LeftOut, Roster};
use crate::state_file::StateFile;
use crate::vitals::Vitals;

/// What the control thread owns.
pub struct Control {
    /// The config file.
    pub path: PathBuf,
    /// What it said when it was last good.
    pub settings: Arc<Settings>,
    /// The API's part of it, where the API reads it.
    pub api: InForce,
    /// The tenants that are wanted.
    pub roster: Roster,
    /// The shards.
    pub fleet: Fleet,
    /// Where tenants of the API are kept.
    pub state_file: Option<StateFile>,
    /// The signs of life, for the probes.
    pub vitals: Arc<Vitals>,
    /// What the data plane has not taken yet.
    pub owed: Owed,
    /// Watches the end of the certificate.
    pub expiry: Expiry,
    /// For each shard, the question after its health that it has not answered yet.
    pub pulses: Vec<Option<Receiver<Reply>>>,
}

impl Control {
    /// Reads the config file again. If it is wrong, everything stays as it is.
    pub fn reload(&mut self) -> Result<Reloaded, Vec<Complaint>> {
        herald::reloading();
        let done = self.load();
        self.vitals.reloaded(done.is_ok());
        match &done {
            Ok(_) => herald::ready(&self.status()),
            Err(_) => {
                herald::ready("serving what ran before: the config file is wrong, see the log")
            }
        }
        match &done {
            Ok(Reloaded {
                changed,
                removed,
                after_restart,
                not_kept: _,
            }) => {
                // The folder's watch also looks when nothing has changed.
                let level = if changed + removed > 0 {
                    Level::Info
                } else {
                    Level::Debug
                };
                log!(
                    level,
                    "config loaded: {changed} tenants changed, {removed} removed"
                );
                if !after_restart.is_empty() {
                    warn!(
                        "config: changes of {} come into force with a restart",
                        after_restart.join(", ")
                    );
                }
            }
            Err(complaints) => {
                error!("the config was not loaded, what ran before runs on:");
                complaints
                    .iter()
                    .for_each(|complaint| error!("config: {complaint}"));
            }
        }
        done
    }

    fn load(&mut self) -> Result<Reloaded, Vec<Complaint>> {
        let mut settings = config::load(&self.path)?;
        let api = understand(self.roster.of_api(), &settings);
        // Whoever is served now is not given up for a slip in the defaults.
        let served = |left: &&LeftOut| self.roster.get(&left.id).is_some();
        let complaints: Vec<_> = (api.left_out.iter().filter(served))
            .flat_map(LeftOut::complaints_by_file)
            .collect();
        if !complaints.is_empty() {
            return Err(complaints);
        }
        settings
            .warnings
            .iter()
            .for_each(|warning| warn!("config: {warning}"));
        let were_left_out: Vec<_> = (self.roster.left_out().map(|left| left.id.clone())).collect();
        let changes = self.roster.reload(settings.tenants.clone(), api);
        for id in were_left_out {
            if self.roster.get(&id).is_some() {
                info!("tenant {id}: was left out, and is served again");
            }
        }
        self.fleet.grace = settings.shutdown_grace;
        let after_restart = keep_what_needs_a_restart(&mut settings, &self.settings);
        self.api.set(settings.api.clone());
        if settings.tls != self.settings.tls {
            self.owed.note(News::Tls(settings.tls.clone()));
        }
        let reception = settings.defaults.access.reception();
        if reception != self.settings.defaults.access.reception() {
            self.owed.note(News::Strangers(reception));
        }
        self.settings = Arc::new(settings);
        self.note_certificate();
        self.say_who_is_left_out();
        // Tenants of the API that the file now names are no longer the API's.
        let not_kept = self.save().err();
        if let Some(why) = &not_kept {
            error!("{why}");
        }
        let removed = changes
            .iter()
            .filter(|change| matches!(change, Change::Remove(_)))
            .count();
        let changed = changes.len() - removed;
        for change in changes {
            self.owed.note(News::Tenant(change));
        }
        self.deliver();
        Ok(Reloaded {
            changed,
            removed,
            after_restart,
            not_kept,
        })
    }

    /// Has the end noted of the certificate that clients see.
    pub fn note_certificate(&mut self) {
        let expires = self.settings.tls.as_ref().map(|tls| tls.expires);
        self.vitals.certificate(expires);
        self.expiry.look(expires);
    }

    /// Tells the data plane what it has not taken yet.
    pub fn deliver(&mut self) {
        let fleet = &self.fleet;
        self.owed.deliver(|news| {
            let is_taken = fleet.pass_on(news);
            if is_taken && matches!(news, News::Tls(_)) {
                info!("clients that connect from now on see the new TLS settings");
            }
            is_taken
        });
    }

    /// Hears which shards are alive, and asks them again. To be called once a second.
    pub fn feel_pulses(&mut self) {
        let tls = self.settings.tls.as_ref();
        self.expiry.look(tls.map(|tls| tls.expires));
        for (shard, pulse) in self.pulses.iter_mut().enumerate() {
            match pulse.as_ref().map(Receiver::try_recv) {
                // It still owes the last answer: more questions would only fill its mailbox.
                Some(Err(TryRecvError::Empty)) => continue,
                Some(Ok(_)) => self.vitals.heard(shard),
                Some(Err(TryRecvError::Disconnected)) | None => {}
            }
            *pulse = self
                .fleet
                .plane()
                .tell(ShardId(shard), Command::Census)
                .ok();
        }
    }

    /// Tells the service manager that we live, unless a shard is silent: then a restart is the cure.
    pub fn show_life(&self) {
        if self.vitals.silent().is_empty() {
            herald::alive();
        }
    }

    /// How it stands, in a line for people.
    pub fn status(&self) -> String {
        let tenants = self.roster.iter().count();
        let left_out = match self.roster.left_out().count() {
            0 => String::new(),
            count => format!(", {count} left out: see the log"),
        };
        format!(
            "serving {tenants} tenants on {} shards{left_out}",
            self.vitals.shards()
        )
    }

    /// Tells the log and the metrics which tenants of the API make no sense.
    pub fn say_who_is_left_out(&self) {
        self.vitals.left_out(self.roster.left_out());
        for left in self.roster.left_out() {
            let LeftOut { id, complaints, .. } = left;
            for complaint in complaints {
                error!("tenant {id}: made by the API, and left out: {complaint}");
            }
            error!(
                "tenant {id}: nobody is served; PUT /tenants/{id} says it anew, DELETE gives it up"
            );
        }
    }

    /// Makes the tenant what the API wrote, and tells its shard if that is a change.
    pub fn put(
        &mut self,
        id: &TenantId,
        written: Node,
        when: &When,
    ) -> Result<(Put, Option<Answer>), Refused> {
        let before = self.roster.before(id);
        let spec_before = before.entry.as_ref().map(|entry| &*entry.spec);
        let said = written;
        let written = with_kept_secrets(said.clone(), spec_before);
        let (spec, warnings) =
            settle_tenant(id, &written, &self.settings.defaults).map_err(Refused::Senseless)?;
        let kept = spec_before.map(|before| kept_for_another(&said, &written, before, &spec));
        let mut astray = kept.unwrap_or_default();
        if let Some(left) = &before.left_out {
            astray.extend(lost(&said, &left.written));
        }
        astray.extend(secret_of_the_defaults(
            &written,
            &spec,
            &self.settings.tenants,
        ));
        if !astray.is_empty() {
            return Err(Refused::Senseless(astray));
        }
        // After the body, as RFC 9110, 13.2.1 wants it: what makes no sense does so under any condition.
        self.may_change(before.entry.as_ref(), when)?;
        let revision = before.entry.as_ref().map(|entry| entry.revision);
        let entry = self.roster.put(spec, written);
        let was_left_out = before.left_out.is_some();
        self.keep(id, before)?;
        warnings
            .iter()
            .for_each(|Complaint { key, text }| warn!("tenant {id}: {key}: {text}"));
        let created = revision.is_none();
        let unchanged = revision == Some(entry.revision);
        let answer = (!unchanged).then(|| self.tell(Change::Upsert(Arc::clone(&entry.spec))));
        if !unchanged {
            let what = match created {
                true if was_left_out => "said anew, and served again,",
                true => "made",
                false => "changed",
            };
            info!("tenant {id}: {what} by the API{}", until_next_load(&entry));
        }
        Ok((Put { entry, created }, answer))
    }

    /// Takes the tenant away, one that is left out, too.
    pub fn remove(&mut self, id: &TenantId, when: &When) -> Result<Answer, Refused> {
        let before = self.roster.before(id);
        self.may_change(before.entry.as_ref(), when)?;
        if before.is_nothing() {
            return Err(Refused::NoTenant);
        }
        let until = before.entry.as_ref().map_or("", until_next_load);
        self.roster.remove(id);
        self.keep(id, before)?;
        info!("tenant {id}: removed by the API{until}");
        Ok(self.tell(Change::Remove(id.clone())))
    }

    fn may_change(&self, entry: Option<&Entry>, when: &When) -> Result<(), Refused> {
        if self.vitals.is_stopping() {
            return Err(Refused::Stopping);
        }
        if !when.holds(entry.map(|entry| entry.revision)) {
            return Err(Refused::NotWhen);
        }
        Ok(())
    }

    /// Keeps the roster as it is now. If that fails, this tenant is again what it was before: what
    /// a restart would lose has not been done.
    fn keep(&mut self, id: &TenantId, before: Before) -> Result<(), Refused> {
        if let Err(why) = self.save() {
            error!("{why}");
            self.roster.restore(id, before);
            return Err(Refused::NotKept(why));
        }
        self.vitals.left_out(self.roster.left_out());
        if before.left_out.is_some() {
            // The service manager shows how many there were.
            herald::ready(&self.status());
        }
        Ok(())
    }

    fn save(&self) -> Result<(), String> {
        let Some(file) = &self.state_file else {
            return Ok(());
        };
        file.save(self.roster.of_api())
            .map_err(|error| error.to_string())
    }

    /// Tells a tenant's shard, now or as soon as it has room.
    fn tell(&mut self, change: Change) -> Answer {
        let answer = self.fleet.tell(&change);
        match answer.is_sent() {
            true => self.owed.is_told(change.tenant()),
            false => self.owed.note(News::Tenant(change)),
        }
        answer
    }

    /// Has the tenant's pool serve in another way.
    pub fn steer(&self, id: &TenantId, steering: Steering) -> Result<Answer, Refused> {
        let entry = self.roster.get(id).ok_or(Refused::NoTenant)?;
        self.may_change(Some(entry), &When::Always)?;
        let told = match steering {
            Steering::Pause => "paused",
            Steering::Drain => "drained",
            Steering::Resume => "resumed",
            Steering::Reconnect => "reconnected",
        };
        info!("tenant {id}: {told} by the API");
        Ok(self.fleet.steer(id, steering))
    }

    /// Asks who is connected to the tenant.
    pub fn sessions(&self, id: &TenantId) -> Result<Answer, Refused> {
        self.roster.get(id).ok_or(Refused::NoTenant)?;
        Ok(self.fleet.sessions(id))
    }

    /// Has one of the tenant's sessions ended, also while stopping: it may be what holds that up.
    pub fn end(&self, id: &TenantId, session: SessionId) -> Result<Answer, Refused> {
        self.roster.get(id).ok_or(Refused::NoTenant)?;
        Ok(self.fleet.end(id, session))
    }
}

fn until_next_load(entry: &Entry) -> &'static str {
    match entry.origin {
        crate::roster::Origin::File => ", until the config file that names it is loaded again",
        crate::roster::Origin::Api(_) => "",
    }
}
