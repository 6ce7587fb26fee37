use super::{Location, Options};

#[test]
fn a_location_is_a_folder_or_a_prefix_in_a_bucket() {
    for (text, shown) in [
        ("data/history", "data/history"),
        ("/srv/s3:/x", "/srv/s3:/x"),
        ("file:///srv/history", "/srv/history"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("gs://bucket/prefix", "gs://bucket/prefix"),
        ("az://container//prefix", "az://container/prefix"),
    ] {
        let location: Location = text.parse().expect(text);
        assert_eq!(location.to_string(), shown, "{text}");
        assert_eq!(location.folder().is_some(), !shown.contains("://"), "{text}");
        assert_eq!(shown.parse(), Ok(location), "{text}");
    }
}

#[test]
fn what_is_no_location_is_refused_without_repeating_its_secrets() {
    for (text, says) in [
        ("ftp://hush@bucket/x", "addresses of `ftp`"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket:99/x", "names no bucket"),
        ("s3://user:hush@bucket/x", "[history.options]"),
        ("az://bucket/x?sig=hush", "[history.options]"),
        ("file://host/x", "file:///folder"),
    ] {
        let said = text.parse::<Location>().expect_err(text);
        assert!(said.contains(says) && !said.contains("hush"), "{text}: {said}");
    }
}

#[test]
fn secrets_among_the_options_are_not_shown() {
    let given = [
        ("aws_secret_access_key", true),
        ("AWS_SESSION_TOKEN", true),
        ("azure_storage_sas_token", true),
        ("google_service_account_key", true),
        ("proxy_url", true),
        ("endpoint", false),
        ("allow_http", false),
        ("region", false),
    ];
    let options = Options(given.iter().map(|(name, _)| ((*name).to_owned(), format!("value of {name}"))).collect());
    let shown = format!("{options:?}");
    for (name, secret) in given {
        assert_eq!(shown.contains(&format!("value of {name}")), !secret, "{name}: {shown}");
    }
}
