//! The command line as people write it.

use std::path::Path;

use mirror::config::{Sources, resolve};

use super::*;

fn run(arguments: &str) -> Run {
    let arguments = std::iter::once("chandler").chain(arguments.split_whitespace()).map(OsString::from);
    match parse(arguments) {
        Ok(Invocation::Mirror(run)) => run,
        Ok(_) => panic!("this starts no mirror"),
        Err(error) => panic!("{error}"),
    }
}

fn fails(arguments: &str) -> String {
    let arguments = std::iter::once("chandler").chain(arguments.split_whitespace()).map(OsString::from);
    parse(arguments).err().expect("not understood").to_string()
}

#[test]
fn the_registry_images_arguments_start_the_mirror_in_its_place() {
    for arguments in [
        "serve /etc/docker/registry/config.yml",
        "/etc/docker/registry/config.yml",
        "mirror --registry-config /etc/docker/registry/config.yml",
    ] {
        let Source::Registry(Some(file)) = run(arguments).source else { panic!("{arguments}") };
        assert_eq!(file, Path::new("/etc/docker/registry/config.yml"), "{arguments}");
    }
    assert!(matches!(run("mirror").source, Source::Own(None)));
    assert!(matches!(bare(true), Invocation::Mirror(Run { source: Source::Registry(None), .. })));
    assert!(matches!(bare(false), Invocation::Help));
}

#[test]
fn an_account_belongs_to_the_upstream_named_before_it() {
    let run = run("mirror --upstream docker.io --user a --password-file /a --private acme/* --private b \
                   --upstream corp=https://registry.corp:5000 --user c --password-file /c --listen 127.0.0.1:1 --listen [::1]:2 \
                   --tls-cert /cert --tls-key /key --allow 10.0.0.0/8,192.0.2.0/24 --allow fd00::/8 --store /s --max-size 80%");
    let shown = resolve(&Sources { flags: run.flags, ..Sources::default() }).expect("all of it is right").show();
    let said: Vec<_> = shown.lines().filter(|line| !line.ends_with("# default")).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    listeners:
    - address: 127.0.0.1:1  # --listen
      tls:
        certificate: /cert  # --tls-cert
        key: /key  # --tls-key
    - address: '[::1]:2'  # --listen
      tls:
        certificate: /cert  # --tls-cert
        key: /key  # --tls-key
    upstreams:
    - name: docker.io  # --upstream
      - docker.io
      - index.docker.io
      - registry-1.docker.io
      - registry.hub.docker.com
      account:
        user: a  # --user
        password_file: /a  # --password-file
      private:  # --private
      - acme/*
      - b
    - name: corp  # --upstream
      url: https://registry.corp:5000  # --upstream
      - corp
      - registry.corp:5000
      account:
        user: c  # --user
        password_file: /c  # --password-file
    store:
      path: /s  # --store
      max_size: 80%  # --max-size
      deleted_tags:
      health:
    access:
      networks:  # --allow
      - 10.0.0.0/8
      - 192.0.2.0/24
      - fd00::/8
    acme:
      - https://acme-v02.api.letsencrypt.org/directory
      - tls-alpn-01
      - http-01
    headers:
      - nosniff
    admin:
    log:
    limits:
    ");
}

#[test]
fn a_word_that_is_no_command_is_not_taken_for_a_file() {
    insta::assert_snapshot!(fails("mirrro"), @r"
    error: there is no command or file `mirrro`

    Usage: chandler [FILE]
           chandler <COMMAND>

    For more information, try '--help'.
    ");
    assert!(fails("mirror --show").contains("--check"));
    assert!(fails("mirror --tls-cert /x").contains("--tls-key"));
    assert!(fails("mirror --upstream a=https://a --user b --user c").contains("--user is given twice for one upstream"));
}

#[test]
fn help_says_what_may_be_written() {
    insta::assert_snapshot!(Cli::command().term_width(100).render_help(), @r#"
    Keeps container images next to the machines that pull them

    Usage: chandler [FILE]
           chandler <COMMAND>

    Commands:
      mirror       Mirror Docker Hub and other registries
      serve        Stand in for the `registry` image, with its config.yml
      image        Write a container image of this program, for `docker load` and its like
      debian       Write a Debian package of this program, for apt and dpkg
      ca           A CA of your own: for the mirror's certificate, and for clients'
      cert         The mirror's certificates: how they stand, renew, roll back, import, export
      acme         The account that orders the mirror's certificates, and what its CA offers
      plan         Show what would put this machine's container engines behind the mirror, and change
                   nothing
      apply        Put this machine's container engines behind the mirror; whatever runs goes on
      verify       Prove by a pull that this machine's engines use the mirror
      undo         Take this machine's engines out again: every file as it was, to the byte
      doctor       Find what keeps this machine's engines from using the mirror
      cloud-init   Write what new machines, runners of other CI systems and firewalls are told of the
                   mirror
      install      Put this program in place as a service: the mirror, or the agent
      uninstall    Take it out again
      completions  Print a completion script
      man          Print a manual page: `chandler man cert renew | man -l -`

    Arguments:
      [FILE]  A config.yml of the `registry` image: starts the mirror in its place

    Options:
      -h, --help     Print help
      -V, --version  Print version
    "#);
    insta::assert_snapshot!(Cli::command().term_width(100).find_subcommand_mut("mirror").expect("the command is there").clone().term_width(100).render_help(), @r"
    Mirror Docker Hub and other registries

    Usage: mirror [OPTIONS]

    Options:
          --config <FILE>           The configuration file [default: /etc/chandler/mirror.yaml, where it
                                    is there]
          --registry-config <FILE>  Read a config.yml of the `registry` image, with its defaults
          --listen <ADDR>           Where clients connect (repeatable) [default: 127.0.0.1:5000]
          --tls-cert <FILE>         Serve HTTPS with this certificate chain (PEM)
          --tls-key <FILE>          The certificate's key (PEM)
          --upstream <[NAME=]URL>   A registry to mirror (repeatable) [default: Docker Hub]
          --user <USER>             The account at the upstream named before it
          --password-file <FILE>    A file with the account's password in its first line
          --private <PATTERN>       Private repositories of the account that may be served (repeatable)
                                    [default: all]
          --allow <CIDR,..|open>    Who may read: networks, or `open` for everybody (repeatable)
          --store <DIR>             The folder for content
          --max-size <SIZE>         Most that the store takes: a size (200GiB) or a share of the disk
                                    (80%)
          --check                   Say whether the configuration is right, and end
          --show                    With --check: print the configuration and where each value comes
                                    from
          --print-default-config    Print a commented configuration file to start from
      -h, --help                    Print help
    ");
}
