//! What operators ask of a running gateway: a journey like any other, with a right of its own for each question.
//!
//! Identify, authorize, then read the parameters: whoever may not ask does not even learn how. The record of a question,
//! with its filters and how much was found, is written before the first byte of the answer leaves.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::audit::act::Act;
use crate::audit::desk::Ask;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::slip::Slip;
use crate::gateway::Error;
use crate::gateway::Gateway;
use crate::gateway::account::Admitted;
use crate::gateway::own::Page;
use crate::gateway::respond::Reply;
use crate::goproxy::artifact::Endpoint;
use crate::goproxy::request::Own;
use crate::goproxy::request::Request;
use crate::head::Head;
use crate::policy::decision::Right;
use crate::telemetry::record::Errand;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;

impl Gateway {
    /// Answers a question to the audit from somebody who may `audit.read`, whatever happens, and accounts for it.
    ///
    /// Cancel safety: dropping the future lets a read that has begun come to its end.
    pub async fn query_audit(&self, head: &Head) -> Admitted {
        self.ask_audit(Errand::Query, head).await
    }

    /// Gives records, in other people's words, to somebody who may `audit.export`; likewise.
    ///
    /// Cancel safety: dropping the future lets a read that has begun come to its end.
    pub async fn export_audit(&self, head: &Head) -> Admitted {
        self.ask_audit(Errand::Export, head).await
    }

    async fn ask_audit(&self, errand: Errand, head: &Head) -> Admitted {
        let record = self.telemetry.begin(head);
        let pending = self.accounts.pending(&record);
        record.note(|facts| {
            facts.endpoint = Some(Endpoint::Admin);
            facts.errand = errand;
        });
        let reply = match self.audit_answer(errand, head, &record).await {
            Ok(reply) => reply,
            Err(fault) => Reply::fault(&fault, None, &record),
        };
        self.accounts.admit(pending, reply).await
    }

    /// What must be looked at now and then although nobody asks: whether tokens were issued or revoked, and what commands
    /// beside the gateway did.
    pub async fn keep(self: &Arc<Self>) {
        let gateway = Arc::clone(self);
        let _looked = self.tasks.block("upkeep", move || gateway.identity.look()).await;
        // without the gateway, whose end would wait for a directory that hangs
        let desk = Arc::clone(&self.desk);
        let looked = move || {
            desk.keep_policies();
            desk.slips()
        };
        let slips = self.tasks.block("upkeep", looked).await.unwrap_or_default();
        let mut recorded = Vec::new();
        for slip in slips {
            // what cannot be recorded now is looked at again
            if self.accounts.administered(slip.act.clone()).await.is_ok() {
                recorded.push(slip);
            }
        }
        if recorded.is_empty() {
            return;
        }
        let done = move || recorded.into_iter().try_for_each(Slip::done);
        if let Ok(Err(error)) = self.tasks.block("upkeep", done).await {
            tracing::warn!(%error, "a slip that is recorded could not be removed, and will be recorded again");
        }
    }

    /// Records that somebody on the operations listener had something done that needs no right.
    pub fn operated(&self, what: &'static str, peer: Option<SocketAddr>) {
        let act = Act::new(Name::AdminAction, Outcome::Allowed).with("command", what);
        let from = peer.map(|peer| peer.ip().to_string());
        self.accounts.administer(act.with("from", from.unwrap_or_default()));
    }

    async fn audit_answer(
        &self,
        errand: Errand,
        head: &Head,
        record: &Record,
    ) -> Result<Reply, Error> {
        let (own, right) = match errand {
            Errand::Query => (Own::Audit, Right::AuditRead),
            Errand::Export => (Own::AuditExport, Right::AuditExport),
        };
        let caller = record.stage(Stage::Identify, self.recognise(head, record)).await?;
        record.step(Stage::Authorize, || {
            Ok::<_, Error>(self.authorize(caller, Request::Own(own), head)?.operates(right)?)
        })?;
        let query = head.query.as_deref().unwrap_or_default();
        let ask = record
            .step(Stage::Parse, || Ok::<_, Error>(Ask::parse(errand, query, self.clock.now())?))?;
        let ask = ask.about(|| self.policy.rule_ids());
        let answer = record.stage(Stage::Fetch, async {
            let desk = self.desk.clone();
            let turn = desk.turn()?;
            Ok::<_, Error>(self.tasks.block("audit query", move || turn.answer(&ask)).await??)
        });
        let answer = answer.await?;
        let page = Page { media_type: answer.media_type, text: answer.lines };
        let mut reply = Reply::page(page, record);
        if answer.more {
            reply.headers.push(("modgate-more", "yes".to_owned()));
        }
        Ok(reply)
    }
}
