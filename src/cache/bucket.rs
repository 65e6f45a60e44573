//! How a bucket of an S3-compatible store is reached, and what is wrong if it is not.

use std::sync::Arc;

use object_store::ObjectStore;

use crate::config::cache::Bucket;

/// Why a bucket cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("[cache.bucket] cannot be used: {0}")]
pub struct BucketError(String);

/// The store of a bucket. Nobody is asked yet.
#[cfg(feature = "s3")]
pub fn open(settings: &Bucket) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let failed = |error: object_store::Error| BucketError(error.to_string());
    let mut options = object_store::ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(settings.connect_timeout)
        .with_read_timeout(settings.timeout)
        .with_timeout(settings.total_timeout);
    if let Some(file) = &settings.ca_file {
        let bundle = std::fs::read(file)
            .map_err(|error| BucketError(format!("{}: {error}", file.display())))?;
        for authority in object_store::Certificate::from_pem_bundle(&bundle).map_err(failed)? {
            options = options.with_root_certificate(authority);
        }
    }
    let retry = object_store::RetryConfig {
        max_retries: 1,
        retry_timeout: settings.timeout,
        ..object_store::RetryConfig::default()
    };
    let store = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(settings.endpoint.as_str().trim_end_matches('/'))
        .with_bucket_name(&settings.name)
        .with_region(&settings.region)
        .with_access_key_id(settings.access_key.expose())
        .with_secret_access_key(settings.secret_key.expose())
        .with_virtual_hosted_style_request(false)
        .with_client_options(options)
        .with_retry(retry)
        .build()
        .map_err(failed)?;
    if settings.prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(object_store::prefix::PrefixStore::new(store, settings.prefix.as_str())))
}

/// In place of the store, in a build without the feature `s3`.
#[cfg(not(feature = "s3"))]
pub fn open(_settings: &Bucket) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let what =
        "this build was made without the feature s3: take [cache.bucket] out, or use another build";
    Err(BucketError(what.to_owned()))
}
