//! What operators ask of a running gateway: a journey like any other, with a right of its own for each question.
//!
//! Identify, authorize, then read the parameters: whoever may not ask does not even learn how. The record of a question,
//! with its filters and how much was found, is written before the first byte of the answer leaves.

use crate::audit::desk::Ask;
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
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;

impl Gateway {
    /// Answers a question to the audit from somebody who may `audit.read`, whatever happens, and accounts for it.
    ///
    /// Cancel safety: dropping the future lets a read that has begun come to its end.
    pub async fn ask_audit(&self, head: &Head) -> Admitted {
        let record = self.telemetry.begin(head);
        let pending = self.accounts.pending(&record);
        record.note(|facts| facts.endpoint = Some(Endpoint::Admin));
        let reply = match self.audit_answer(head, &record).await {
            Ok(reply) => reply,
            Err(fault) => Reply::fault(&fault, None, &record),
        };
        self.accounts.admit(pending, reply).await
    }

    async fn audit_answer(&self, head: &Head, record: &Record) -> Result<Reply, Error> {
        let caller = record.stage(Stage::Identify, self.recognise(head)).await?;
        record.step(Stage::Authorize, || {
            let request = Request::Own(Own::Audit);
            Ok::<_, Error>(self.authorize(caller, request, head)?.operates(Right::AuditRead)?)
        })?;
        let query = head.query.as_deref().unwrap_or_default();
        let ask =
            record.step(Stage::Parse, || Ok::<_, Error>(Ask::parse(query, self.clock.now())?))?;
        let answer = record.stage(Stage::Fetch, async {
            let desk = self.desk.clone();
            let turn = desk.turn()?;
            Ok::<_, Error>(self.tasks.block("audit query", move || turn.answer(&ask)).await??)
        });
        let answer = answer.await?;
        let page = Page { media_type: "application/x-ndjson", text: answer.lines };
        let mut reply = Reply::page(page, record);
        if answer.more {
            reply.headers.push(("modgate-more", "yes".to_owned()));
        }
        Ok(reply)
    }
}
