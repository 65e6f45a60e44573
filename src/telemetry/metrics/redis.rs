//! The metrics of a Redis, and of what nodes tell each other over it.

use crate::telemetry::buckets::SERVE;
use crate::telemetry::family::Counters;
use crate::telemetry::family::Family as _;
use crate::telemetry::family::Gauges;
use crate::telemetry::family::Histograms;
use crate::telemetry::family::Registry;
use crate::telemetry::labels::Direction;
use crate::telemetry::labels::News;
use crate::telemetry::labels::RedisGroup;
use crate::telemetry::labels::RedisResult;
use crate::telemetry::metrics::Entry;

catalogue! {
    /// The metrics of a Redis; they stand on the page only where one is configured.
    RedisMetrics, REDIS_ENTRIES:
    /// Commands, by what they do and what became of them.
    counter commands "modgate_redis_commands_total": Counters<(RedisGroup, RedisResult)>;
    /// Time of a command.
    histogram seconds "modgate_redis_command_duration_seconds": Histograms<(RedisGroup,)>, in SERVE;
    /// Whether there is a connection on which commands are tried.
    gauge up "modgate_redis_up": Gauges<()>;
    /// How often a connection was made, the first one included.
    counter reconnects "modgate_redis_reconnects_total": Counters<()>;
    /// News that nodes tell each other.
    counter news "modgate_cluster_messages_total": Counters<(News, Direction)>;
    /// How often news was missed, so that what it may have been about was distrusted.
    counter gaps "modgate_cluster_gaps_total": Counters<()>;
}
