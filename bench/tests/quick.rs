//! The benchmark can be run: a short round of it starts its servers, loads them, and writes its report.

use serde_json::Value;
use std::process::Command;

#[test]
fn a_short_round_measures_what_was_selected() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--quick", "--only", "single", "--engines", "redis,keyvalue"])
        .arg("--out")
        .arg(folder.path())
        .output()?;
    let [table, errors] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{errors}\n{table}");
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("report.json"))?)?;
    for engine in ["redis", "keyvalue"] {
        let what = format!("serve {engine}, 1 connection");
        assert!(table.contains(&what), "{what}: {table}");
        let rows = report["rows"].as_array().expect("rows");
        let row = rows
            .iter()
            .find(|row| {
                row["what"]
                    .as_str()
                    .is_some_and(|row| row.starts_with(&what))
            })
            .unwrap_or_else(|| panic!("{what}: {report}"));
        let pairs = row["pairs"].as_array().expect("pairs");
        assert_eq!(pairs.len(), 1, "{row}");
        for pair in pairs {
            assert!(pair["value"].as_f64() > Some(0.0), "{row}");
            assert!(pair["yardstick"].as_f64() > Some(0.0), "{row}");
            assert_eq!(pair["fault"], Value::Null, "{row}");
        }
    }
    let runs = report["runs"].as_array().expect("runs");
    assert!(
        runs.iter().all(|run| run["requests"].as_u64() > Some(0)),
        "{report}"
    );
    Ok(())
}
