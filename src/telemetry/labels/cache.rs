//! Labels of the tiers, of Redis, and of what nodes tell each other.

use crate::telemetry::labels::Label;

label! {
    /// How content was found for one request.
    CacheResult as "result" {
        /// In a tier, and fresh.
        Hit = "hit",
        /// In a tier, and not fresh: served while it is renewed, or because it could not be.
        Stale = "stale",
        /// A remembered 404 or 410.
        NegativeHit = "negative_hit",
        /// Waited for somebody else's fill.
        Coalesced = "coalesced",
        /// Fetched.
        Miss = "miss",
        /// Not looked for in a tier.
        Bypass = "bypass",
    }
}

label! {
    /// What became of one look into one tier.
    Lookup as "result" {
        /// Found, fresh.
        Hit = "hit",
        /// Found, not fresh, and good enough if need be.
        Stale = "stale",
        /// Found, too old.
        Expired = "expired",
        /// A remembered absence.
        NegativeHit = "negative_hit",
        /// Not there.
        Miss = "miss",
        /// The tier failed, or held something that is not what was stored.
        Error = "error",
    }
}

label! {
    /// A cache tier, nearest first.
    Tier as "tier" {
        /// In this process.
        Memory = "memory",
        /// In a Redis that nodes share.
        Redis = "redis",
        /// In a directory of this machine.
        Blob = "blob",
        /// In a bucket that nodes share.
        Bucket = "bucket",
    }
}

label! {
    /// Why an entry left a tier.
    EvictionCause as "cause" {
        /// To keep the bound.
        Size = "size",
        /// A newer one came.
        Replaced = "replaced",
        /// Somebody wanted it gone.
        Purged = "purged",
        /// Its bytes were not those that were stored.
        Corrupt = "corrupt",
    }
}

label! {
    /// What became of a fill.
    FillResult as "result" {
        /// Verified and stored.
        Stored = "stored",
        /// A remembered 404 or 410.
        Absent = "absent",
        /// Refused or not to be had.
        Failed = "failed",
    }
}

label! {
    /// What is done to a tier.
    TierOperation as "operation" {
        /// Looked into.
        Get = "get",
        /// Given an entry.
        Put = "put",
        /// Rid of an entry.
        Delete = "delete",
    }
}

label! {
    /// How it ended.
    TierResult as "result" {
        /// Well.
        Ok = "ok",
        /// Not.
        Error = "error",
    }
}

label! {
    /// Commands of Redis, by what they do.
    RedisGroup as "group" {
        /// Reading.
        Get = "get",
        /// Writing.
        Set = "set",
        /// Removing.
        Del = "del",
        /// Several steps as one.
        Script = "script",
        /// News.
        Pubsub = "pubsub",
    }
}

label! {
    /// What became of a command.
    RedisResult as "result" {
        /// An answer.
        Ok = "ok",
        /// None in time.
        Timeout = "timeout",
        /// The connection was lost.
        Io = "io",
        /// Another server is the one to ask.
        Moved = "moved",
        /// The server refused, or said something else.
        Error = "error",
    }
}

label! {
    /// News that nodes tell each other.
    News as "kind" {
        /// An emergency deny, given or lifted.
        Deny = "deny",
        /// Entries that are no longer good.
        Invalidate = "invalidate",
        /// Another policy.
        PolicyRevision = "policy_revision",
        /// A token that was taken back.
        TokenRevoked = "token_revoked",
    }
}

label! {
    /// Which way news went.
    Direction as "direction" {
        /// From here.
        Sent = "sent",
        /// To here.
        Received = "received",
    }
}
