//! The options of the program.

use crate::Files;
use testbed::TestResult;
use testbed::certificates::Authority;
use testbed::cli::Place;

#[test]
fn files_that_cannot_be_used_are_told() -> TestResult {
    let place = Place::new()?;
    let authority = Authority::new()?;
    let client = authority.for_client("minter")?;
    let other = authority.for_client("other")?;
    let text = |path: &std::path::Path| path.display().to_string();
    let (ca, chain, key) = (
        text(&authority.file()),
        text(&client.chain),
        text(&client.key),
    );
    let missing = text(&place.file("missing.pem"));
    let empty = place.file("empty.pem");
    std::fs::write(&empty, "nothing").expect("written");
    let empty = text(&empty);
    let other_key = text(&other.key);
    for (arguments, says) in [
        (
            &["--ca-file", &missing][..],
            &["missing.pem", "No such file"][..],
        ),
        (&["--ca-file", &empty], &["empty.pem", "BEGIN CERTIFICATE"]),
        (&["--ca-file", &key], &["BEGIN CERTIFICATE"]),
        (&["--client-cert", &chain], &["--client-key"]),
        (&["--client-key", &key], &["--client-cert"]),
        (
            &["--client-cert", &chain, "--client-key", &ca],
            &["BEGIN PRIVATE KEY"],
        ),
        (
            &["--client-cert", &chain, "--client-key", &other_key],
            &["the client certificate in"],
        ),
    ] {
        for command in [&[][..], &["last"], &["serve", "--port", "0"]] {
            let outcome = place.run(&[command, &["--engine", "memory"], arguments].concat())?;
            outcome.assert_failed(8, says);
        }
    }
    let fine = [
        "--ca-file",
        &ca,
        "--client-cert",
        &chain,
        "--client-key",
        &key,
    ];
    assert_eq!(
        place.mint(&[&["--engine", "memory"], &fine[..]].concat())?,
        [2]
    );
    assert!(Files::trusting(&authority).host().is_ok());
    Ok(())
}
