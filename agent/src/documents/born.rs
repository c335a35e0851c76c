//! User data and the VM service's template, made and looked at.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cloud_init::lint::{self, Weight};
use cloud_init::user_data::{self, Enrolment, Provider, Theirs, enrolment};
use cloud_init::vm_service::{Block, CUSTOMIZATIONS, RECYCLE, customizations, template};
use cloud_init::{CaSpelling, Document};
use serde_json::json;

use super::{DocumentsFailure, Made, Order, bounded, written};
use crate::cli::cloud_init::{LintArgs, Roots, UserDataArgs, VmServiceArgs};
use crate::engines::{Finding, MirrorUrl, Weight as Gravity};
use crate::report::{Said, plain};

/// The customizations of a VM service, with ours last, or without; or the template alone.
pub(super) fn vm_service(args: &VmServiceArgs) -> Result<Made, DocumentsFailure> {
    if let (true, Some(path)) = (args.remove, &args.onto) {
        return without(path);
    }
    let order = Order::of(&args.birth)?;
    let birth = order.birth()?;
    let config = user_data::cloud_config(&order.user_data(&birth, None));
    let (_, size) = user_data::packed(&config.to_string(), false, Provider::Ec2);
    if !size.fits() {
        return Err(DocumentsFailure::TooLarge(size.to_string()));
    }
    let template = template::template(&config);
    if args.template {
        let document =
            Document::new("linux_cloud_init.yaml", "is /resources/ec2/linux_cloud_init.yaml in the service's container", template);
        return Ok(Made { documents: vec![document.with_secret(order.has_key())], findings: birth.findings });
    }
    let block = Block::new(template, &order.wish.mirrors).map_err(DocumentsFailure::Template)?;
    let block = if args.replace_template { block.over_own_template() } else { block };
    let there = args.onto.as_deref().map(text).transpose()?;
    let path = || args.onto.clone().unwrap_or_else(|| CUSTOMIZATIONS.into());
    let whole =
        customizations::install(there.as_deref(), &block).map_err(|source| DocumentsFailure::Customizations { path: path(), source })?;
    well_formed(&path(), &whole)?;
    let mut made =
        Made { documents: vec![Document::new("customizations", WHAT, whole).with_secret(order.has_key())], findings: birth.findings };
    made.findings.extend(
        there
            .iter()
            .flat_map(|text| customizations::findings(text))
            .filter(|finding| *finding != customizations::Finding::NoBlock)
            .map(|finding| note(&finding.to_string(), "")),
    );
    made.findings.push(note(RECYCLE.trim_end(), ""));
    Ok(made)
}

/// By the shell that is here, if there is one: what lies open in others' lines would swallow ours.
fn well_formed(path: &Path, whole: &str) -> Result<(), DocumentsFailure> {
    let shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let Ok(mut shell) = shell else { return Ok(()) };
    let mut input = shell.stdin.take().expect("it is piped");
    // One that stops reading has found something.
    let _ = input.write_all(whole.as_bytes());
    drop(input);
    match shell.wait_with_output() {
        Ok(output) if !output.status.success() => {
            let said = plain(String::from_utf8_lossy(&output.stderr).trim());
            Err(DocumentsFailure::Shell { path: path.to_owned(), said })
        }
        _ => Ok(()),
    }
}

/// The file as it was before, which needs no mirror.
fn without(path: &Path) -> Result<Made, DocumentsFailure> {
    let whole =
        customizations::remove(&text(path)?).map_err(|source| DocumentsFailure::Customizations { path: path.to_owned(), source })?;
    let mut made = Made::from(Document::new("customizations", WHAT, whole));
    made.findings.push(note("the container keeps the template that it wrote, which nothing reads then; machines that are waiting for jobs keep what they were born with until they are recycled", ""));
    Ok(made)
}

/// One document, whose size is told.
pub(super) fn user_data(args: &UserDataArgs) -> Result<Said, DocumentsFailure> {
    let mut order = Order::of(&args.birth)?;
    let enrolment = args.enroll.as_deref().map(|path| enrolled(path, &mut order)).transpose()?;
    let birth = order.birth()?;
    let with = args.with.iter().map(|path| theirs(path)).collect::<Result<Vec<_>, _>>()?;
    let spelling = args.system_roots.map(|roots| match roots {
        Roots::New => CaSpelling::Underscored,
        Roots::Old => CaSpelling::Dashed,
        Roots::Both => CaSpelling::Both,
    });
    let wanted =
        user_data::Order { enrolment: enrolment.as_ref(), with: &with, multipart: args.multipart, ..order.user_data(&birth, spelling) };
    let text = user_data::user_data(&wanted)?;
    let (bytes, size) = user_data::packed(&text, args.gzip, args.provider);
    // What somebody else's parts hold is not known.
    let is_secret = order.has_key() || !args.with.is_empty();
    let mut made = Made {
        documents: vec![Document::new("user-data", "is handed to the provider", text).with_secret(is_secret)],
        findings: birth.findings,
    };
    made.findings.push(note(&size.to_string(), ""));
    match &args.out.output {
        Some(path) if args.gzip => {
            written::bytes(path, &bytes, if is_secret { 0o600 } else { 0o644 })?;
            Ok(Said { data: String::new(), notes: made.notes() })
        }
        _ => made.told(&args.out),
    }
}

/// All that is wrong, a line each.
pub(super) fn lint(args: &LintArgs) -> Result<(Said, Option<DocumentsFailure>), DocumentsFailure> {
    let (mut lines, mut objects, mut is_faulty) = (String::new(), Vec::new(), false);
    for path in &args.files {
        for finding in lint::lint(&read(path)?, args.provider) {
            is_faulty |= finding.weight == Weight::Error;
            let _ = writeln!(lines, "{}", plain(&format!("{}:{finding}", path.display())));
            let weight = if finding.weight == Weight::Error { "error" } else { "warning" };
            objects.push(json!({ "file": path.display().to_string(), "part": finding.part, "line": finding.at.line, "column": finding.at.column, "weight": weight, "what": finding.what, "mend": finding.mend }));
        }
    }
    let data = if args.json { format!("{:#}\n", json!({ "findings": objects })) } else { lines };
    Ok((Said { data, notes: Vec::new() }, is_faulty.then_some(DocumentsFailure::Faulty)))
}

/// The planners work with a pair that is to come.
fn enrolled(path: &Path, order: &mut Order) -> Result<Enrolment, DocumentsFailure> {
    let token = text(path)?.trim().to_owned();
    if !token.contains('.') || token.contains(char::is_whitespace) {
        return Err(DocumentsFailure::NoToken(path.to_owned()));
    }
    if !order.wish.mirrors.iter().any(MirrorUrl::is_secure) {
        return Err(DocumentsFailure::NoSecureMirror);
    }
    order.wish.client = Some(enrolment::to_come());
    Ok(Enrolment { mirrors: order.wish.mirrors.clone(), token, anchors: order.wish.anchors.clone() })
}

fn theirs(path: &Path) -> Result<Theirs, DocumentsFailure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Theirs { name, bytes: read(path)? })
}

fn text(path: &Path) -> Result<String, DocumentsFailure> {
    let failed =
        |error| DocumentsFailure::Read { path: path.to_owned(), source: std::io::Error::new(std::io::ErrorKind::InvalidData, error) };
    String::from_utf8(read(path)?).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, DocumentsFailure> {
    bounded(path).map_err(|source| DocumentsFailure::Read { path: path.to_owned(), source })
}

fn note(what: &str, mend: &str) -> Finding {
    Finding { engine: None, weight: Gravity::Warns, what: what.to_owned(), mend: mend.to_owned() }
}

/// What becomes of the customizations.
const WHAT: &str = "is /etc/circleconfig/vm-service/customizations; then `docker restart vm-service`";
