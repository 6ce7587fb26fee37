use super::{Config, Layer};

fn variables(pairs: &[(&str, &str)]) -> Vec<Layer> {
    Layer::variables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).expect("defaults")
}

fn refused(layers: &[Layer]) -> String {
    Config::from_layers(layers).expect_err("refused").to_string()
}

#[test]
fn the_default_file_says_what_the_code_does() {
    let from_file = Config::from_layers(&[]).expect("parses");
    let mut from_code = Config::default();
    from_code.derive();
    assert_eq!(from_file, from_code);
}

#[test]
fn the_default_file_names_every_key() {
    let known = Layer::known_keys().expect("parses");
    let all = Layer::toml("code", &Config::default().dump()).expect("parses");
    all.refuse_unknown(&known).expect("every key of the code is in the file");
}

#[test]
fn later_sources_win() {
    let file = Layer::toml(
        "m.toml",
        "[server]\nhttp = \"127.0.0.1:1\"\notlp_grpc = \"127.0.0.1:2\"\notlp_http = \"127.0.0.1:3\"",
    )
    .expect("TOML");
    let mut layers = vec![file];
    layers.extend(variables(&[
        ("MARTINGALE__SERVER__OTLP_GRPC", "127.0.0.1:20"),
        ("MARTINGALE__SERVER__OTLP_HTTP", "127.0.0.1:30"),
    ]));
    layers.push(Layer::flag("--otlp-http", "server.otlp_http", "127.0.0.1:300"));
    let config = Config::from_layers(&layers).expect("valid");
    let ports = [config.server.http, config.server.otlp_grpc, config.server.otlp_http].map(|it| it.port());
    assert_eq!(ports, [1, 20, 300]);
}

#[test]
fn a_mistake_is_named_with_its_place_and_a_remedy() {
    let file = |text: &str| vec![Layer::toml("m.toml", text).expect("TOML")];
    for (layers, words) in [
        (file("[servr]\nhttp = \"127.0.0.1:1\""), vec!["`servr`", "m.toml", "`server`"]),
        (file("[server]\nhtttp = \"127.0.0.1:1\""), vec!["`server.htttp`", "m.toml", "`server.http`"]),
        (file("[server]\nzzzzzzzzzz = 1"), vec!["`server.zzzzzzzzzz`", "m.toml"]),
        (file("[server]\nhttp = \"localhost\""), vec!["`server.http`", "m.toml"]),
        (file("[server]\ndrain_max = \"soon\""), vec!["`server.drain_max`", "m.toml", "soon", "30s"]),
        (file("[detector]\nbatch_steps_max = 0"), vec!["batch_steps_max", "0"]),
        (file("[verdicts]\nlimit_max = 0"), vec!["`verdicts.limit_max`", "0", "at least 1"]),
        (file("[webhook]\nurl = \"example.com\""), vec!["`webhook.url`", "is no address"]),
        (file("[history]\nmemory_bytes_max = 1"), vec!["`history.memory_bytes_max`", "`history.flush_bytes`"]),
        (file("[server]\nconnections_max = 0"), vec!["`server.connections_max`", "at least 1"]),
        (file("[sql]\nqueries_max = 0"), vec!["`sql.queries_max`", "at least 1"]),
        (
            variables(&[("MARTINGALE__SERVER__HTPT", "x")]),
            vec!["`server.htpt`", "MARTINGALE__SERVER__HTPT", "`server.http`"],
        ),
        (variables(&[("MARTINGALE__SERVER__HTTP", "x")]), vec!["`server.http`", "MARTINGALE__SERVER__HTTP"]),
        (file("[auth]\ntoken = \"0123456789abcdef\"\ntoken_file = \"t\""), vec!["auth.token_file", "keep one"]),
        (file("[auth]\ntoken = \"short\""), vec!["auth.token", "5 characters", "at least 16"]),
        (file("[auth]\ntoken = \"0123456789 abcdef\""), vec!["auth.token", "a space"]),
        (file("[auth]\ntoken_file = \"/nowhere/token\""), vec!["auth.token_file", "/nowhere/token"]),
    ] {
        let said = refused(&layers);
        for word in words {
            assert!(said.contains(word), "{word} in: {said}");
        }
    }
    let said = Layer::toml("m.toml", "[server\n").expect_err("refused").to_string();
    assert!(said.contains("m.toml") && said.contains("line 1"), "{said}");
}

#[test]
fn other_variables_are_left_alone() {
    let others =
        [("MARTINGALE_SERVER", "http://x"), ("MARTINGALE_E2E__X", "1"), ("MARTINGALE_LOG", "1"), ("PATH", "/bin")];
    assert!(variables(&others).is_empty());
}

#[test]
fn a_variable_with_an_underscore_too_few_is_refused() {
    let variable = ("MARTINGALE_LOG__DURABILITY".to_owned(), "fsync".to_owned());
    let said = Layer::variables([variable]).expect_err("refused").to_string();
    for word in ["MARTINGALE_LOG__DURABILITY is not read", "MARTINGALE__LOG__DURABILITY"] {
        assert!(said.contains(word), "{word} in: {said}");
    }
}

#[test]
fn a_secret_of_digits_is_text_and_is_masked() {
    let config = Config::from_layers(&variables(&[("MARTINGALE__AUTH__TOKEN", "1234567890123456")])).expect("valid");
    assert_eq!(config.auth.secret().expect("usable").as_deref(), Some("1234567890123456"));
    let shown = config.dump();
    assert!(shown.contains("token = \"***\"") && !shown.contains("1234567890"), "{shown}");
    assert!(!format!("{config:?}").contains("1234567890"));
}

#[test]
fn what_is_dumped_can_be_loaded() {
    let config = Config::from_layers(&variables(&[("MARTINGALE__SERVER__DATA", "/srv/m \"x\"")])).expect("valid");
    let again = Config::from_layers(&[Layer::toml("dump", &config.dump()).expect("TOML")]).expect("valid");
    assert_eq!(config, again);
}

#[test]
fn of_an_address_its_path_is_masked() {
    for (url, shown) in [
        ("https://example.com/hooks/T0/token", "https://example.com/***"),
        ("https://example.com:8443?token=x", "https://example.com:8443/***"),
        ("https://example.com/", "https://example.com/"),
        ("https://example.com", "https://example.com"),
    ] {
        let file = format!("[webhook]\nurl = \"{url}\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"");
        let config = Config::from_layers(&[Layer::toml("m.toml", &file).expect("TOML")]).expect("valid");
        let dump = config.dump();
        assert!(dump.contains(&format!("\nurl = \"{shown}\"\n")), "{dump}");
    }
}
