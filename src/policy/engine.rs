//! Casbin over the candidate rows: the only place that knows it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::PoisonError;

use casbin::CoreApi as _;
use casbin::DefaultModel;
use casbin::Enforcer;
use casbin::NullAdapter;
use casbin::function_map::OperatorFunction;
use casbin::rhai::Dynamic;
use futures_util::FutureExt as _;

use crate::policy::loader::MODEL;
use crate::policy::rule;
use crate::policy::rule::Asked;
use crate::policy::rule::Rule;

/// The engine could not decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy engine failed: {0}")]
pub(in crate::policy) struct EngineError(String);

/// Enforcers that nobody uses just now; each decision fills one with its candidates.
#[derive(Default)]
pub(in crate::policy) struct Engine(Mutex<Vec<Enforcer>>);

impl fmt::Debug for Engine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("casbin")
    }
}

impl Engine {
    /// Decides over rows, at least one of them. A panic inside is an error, and its enforcer is thrown away.
    pub(in crate::policy) fn decide(
        &self,
        rules: &[&Rule],
        subjects: &str,
        asked: &Asked,
    ) -> Result<bool, EngineError> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut enforcer = match idle {
            Some(enforcer) => enforcer,
            None => fresh()?,
        };
        let decided = catch_unwind(AssertUnwindSafe(|| {
            let model = enforcer.get_mut_model();
            model.clear_policy();
            let rows = rules.iter().map(|rule| rule.columns()).collect();
            // all or none are taken: a decision without some rows could miss a deny
            if !model.add_policies("p", "p", rows) {
                return Err(EngineError("it did not take the rows".to_owned()));
            }
            enforcer
                .enforce((subjects, &asked.module, &asked.version, asked.action.word()))
                .map_err(|error| EngineError(error.to_string()))
        }));
        match decided {
            Ok(Ok(allowed)) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(enforcer);
                Ok(allowed)
            }
            Ok(Err(error)) => Err(error),
            Err(_panic) => Err(EngineError("it panicked".to_owned())),
        }
    }
}

/// An enforcer with the shipped model and our matchers, without a row.
fn fresh() -> Result<Enforcer, EngineError> {
    let failed = |error: casbin::Error| EngineError(error.to_string());
    // everything these do is ready at once: there is no file and no network behind them
    let never = || EngineError("it waited for something".to_owned());
    let model = DefaultModel::from_str(MODEL).now_or_never().ok_or_else(never)?.map_err(failed)?;
    let made = Enforcer::new_raw(model, NullAdapter).now_or_never().ok_or_else(never)?;
    let mut enforcer = made.map_err(failed)?;
    enforcer.add_function(
        "moduleMatch",
        OperatorFunction::Arg2(|a, b| both(&a, &b, rule::module_matches)),
    );
    enforcer
        .add_function("subjectIn", OperatorFunction::Arg2(|a, b| both(&a, &b, rule::subject_in)));
    enforcer.add_function(
        "actionMatch",
        OperatorFunction::Arg2(|a, b| both(&a, &b, rule::action_matches)),
    );
    enforcer.add_function(
        "versionMatch",
        OperatorFunction::Arg2(|a, b| both(&a, &b, rule::version_matches)),
    );
    Ok(enforcer)
}

/// Calls a matcher with two texts. Anything else gives no truth value at all, so that the decision fails as a whole:
/// answering "no match" could drop a deny.
fn both(a: &Dynamic, b: &Dynamic, matcher: fn(&str, &str) -> bool) -> Dynamic {
    match (
        a.read_lock::<casbin::rhai::ImmutableString>(),
        b.read_lock::<casbin::rhai::ImmutableString>(),
    ) {
        (Some(a), Some(b)) => Dynamic::from(matcher(&a, &b)),
        _ => Dynamic::UNIT,
    }
}
