//! Exit codes and printed lines of commands that find no server, no key, or nothing to do.

use std::fs;

use super::evidence::bowline;

/// Nothing listens on port 1 of this machine.
const NOWHERE: [&str; 2] = ["--url", "http://127.0.0.1:1"];
const ID: &str = "64527dd3-a654-4410-9327-e58a1492ce77";

#[test]
fn wrong_usage_is_2_and_no_server_is_3_with_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bowline(folder.path(), &[&NOWHERE, arguments].concat());
    assert_eq!(run(&["head", "--tenant", "x"]).code, Some(2));
    let ran = run(&["tail"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no stream is named"), "{}", ran.stderr);

    for command in [&["head"][..], &["tail", "--tenant", ID, "--store", ID], &["keys", "sequencer"]] {
        let ran = run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{command:?}");
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines[0].starts_with("error: cannot reach http://127.0.0.1:1: "), "{}", ran.stderr);
        assert!(lines[1].starts_with("next: ") && lines[1].contains("bowline serve"), "{}", ran.stderr);
    }
}

#[test]
fn append_without_a_server_keeps_its_agent_and_stream() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lines"), "{\"a\":1}\n").unwrap();
    let run = || bowline(folder.path(), &[&NOWHERE, &["append", "lines"][..]].concat());
    let (first, second) = (run(), run());
    assert_eq!((first.code, second.code), (Some(3), Some(3)));
    assert!(first.stderr.contains("made agent") && !second.stderr.contains("made agent"));
    let stream = |text: &str| text.lines().find(|line| line.starts_with("appending to")).map(str::to_owned);
    assert!(stream(&first.stderr).is_some());
    assert_eq!(stream(&first.stderr), stream(&second.stderr));
}

#[test]
fn curl_prints_the_call_without_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/admin.key"), "top-secret\n").unwrap();
    let run = |arguments: &[&str]| bowline(folder.path(), arguments);
    let ran = run(&["head", "--tenant", ID, "--store", ID, "--curl"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert_eq!(
        ran.stderr.trim_end(),
        format!(
            "curl -sS -H \"Authorization: ApiKey $(cat 'data/admin.key')\" \
             'http://127.0.0.1:8080/api/v1/ves/head?tenant_id={ID}&store_id={ID}'"
        )
    );
    // A key file is for this machine alone.
    let away = run(&["--url", "http://line.example", "head", "--curl"]);
    assert!(!away.stderr.contains("Authorization"), "{}", away.stderr);
    assert_eq!(run(&["append", "--curl"]).code, Some(2));
}

#[test]
fn a_key_is_generated_once_and_its_secret_stays_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let generate = || bowline(folder.path(), &["keys", "generate", "--agent", "till", "--output", "json"]);
    let (first, second) = (generate().json(), generate().json());
    assert_eq!((&first["made"], &second["made"]), (&true.into(), &false.into()));
    assert_eq!(first["public_key"], second["public_key"]);
    let file = fs::read_to_string(folder.path().join("data/agents/till.json")).unwrap();
    let seed: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert!(!first.to_string().contains(seed["seed"].as_str().unwrap()));
}

#[test]
fn help_tells_the_exit_codes_and_completions_are_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let help = bowline(folder.path(), &["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Exit codes:"), "{}", help.stdout);
    let script = bowline(folder.path(), &["completions", "bash"]);
    assert!(script.code == Some(0) && script.stdout.contains("complete -F _bowline"));
}
