//! Whether there can be credentials for a store at all. The service that hands them out to machines of a cloud is asked for minutes
//! where it does not exist, so it is looked for first.

use std::{
    env,
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

/// Where a machine of a cloud answers, it does so at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether credentials of a kind of store are named in the environment, lie in a file, or come from the machine's cloud.
pub(super) fn may_be_there(scheme: &str) -> bool {
    let (variables, service): (&[&str], &str) = match scheme {
        "s3" => (
            &[
                "AWS_ACCESS_KEY_ID",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_SKIP_SIGNATURE",
            ],
            "169.254.169.254:80",
        ),
        "gs" => (
            &[
                "GOOGLE_APPLICATION_CREDENTIALS",
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT_PATH",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "SERVICE_ACCOUNT",
                "GOOGLE_SKIP_SIGNATURE",
            ],
            "metadata.google.internal:80",
        ),
        _ => (
            &[
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_ACCESS_KEY",
                "AZURE_STORAGE_SAS_TOKEN",
                "AZURE_STORAGE_SAS_KEY",
                "AZURE_STORAGE_TOKEN",
                "AZURE_STORAGE_CLIENT_ID",
                "AZURE_CLIENT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
                "AZURE_SKIP_SIGNATURE",
                "AZURE_USE_AZURE_CLI",
                "AZURE_STORAGE_USE_EMULATOR",
                "IDENTITY_ENDPOINT",
            ],
            "169.254.169.254:80",
        ),
    };
    let is_named = variables.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    is_named
        || (scheme == "gs" && gcloud_file().is_some_and(|file| file.is_file()))
        || answers(&address(scheme, service))
}

/// What `gcloud auth application-default login` writes.
fn gcloud_file() -> Option<PathBuf> {
    Some(PathBuf::from(env::var_os("HOME")?).join(".config/gcloud/application_default_credentials.json"))
}

/// Where the service of the cloud is, unless the environment names another place.
fn address(scheme: &str, service: &str) -> String {
    let named = if scheme == "s3" { env::var("AWS_METADATA_ENDPOINT").ok() } else { None };
    let host = named.and_then(|url| Some(url.split_once("://")?.1.trim_end_matches('/').to_owned()));
    match host {
        Some(host) if host.contains(':') => host,
        Some(host) => format!("{host}:80"),
        None => service.to_owned(),
    }
}

fn answers(address: &str) -> bool {
    let places = address.to_socket_addrs().into_iter().flatten();
    places.take(2).any(|place| TcpStream::connect_timeout(&place, PATIENCE).is_ok())
}

/// How to give credentials.
pub(super) fn remedy(scheme: &str) -> String {
    let (variables, command) = match scheme {
        "s3" => {
            ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION", "aws configure export-credentials --format env")
        }
        "gs" => ("GOOGLE_APPLICATION_CREDENTIALS", "gcloud auth application-default login"),
        _ => ("AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY", "az storage account keys list"),
    };
    format!("Credentials come from the environment ({variables}); `{command}` gives them.")
}
