#!/usr/bin/env python3
# Made by chandler: tells Docker of its mirrors, keeps what else daemon.json says, and sees that a running dockerd uses them.
# Asks no mirror and ends within seconds, so a mirror that is down keeps no machine from starting. A second run changes nothing.
import collections, http.client, json, os, signal, socket, sys, tempfile, time

MIRRORS = []
INSECURE = []
FILE = "/etc/docker/daemon.json"
SOCKET = "/var/run/docker.sock"
PID = "/var/run/docker.pid"
UNITS = ["/etc/default/docker", "/etc/sysconfig/docker"] + [
    folder + name for folder in ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/")
    for name in ("docker.service", "docker.service.d")]
SECONDS = 10


def refuse(why):
    sys.stderr.write("chandler-first-boot: %s\n" % why)
    sys.exit(1)


def no_constant(word):
    raise ValueError("%s is no JSON" % word)


def read(path):
    """The object in the file, keys in their order; an empty one where there is none."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
        if not text.strip():
            return collections.OrderedDict()
        config = json.loads(text, object_pairs_hook=collections.OrderedDict, parse_constant=no_constant)
    except FileNotFoundError:
        return collections.OrderedDict()
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        refuse("%s, line %d, column %d: %s; nothing is changed" % (path, line, column, getattr(error, "msg", error)))
    if not isinstance(config, dict):
        refuse("%s, line 1, column 1: no object; nothing is changed" % path)
    return config


def strings(config, key):
    value = config.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        refuse("%s: `%s` is no list of strings; nothing is changed" % (FILE, key))
    return value


def bare(url):
    return url.rstrip("/").lower()


def place(registry):
    """As dockerd shows an insecure registry: host and port, whatever scheme is before them in the file."""
    return bare(registry).split("://")[-1]


def merge(config):
    """Our mirrors before the others; whether that changed anything."""
    before = json.dumps(config)
    mirrors, insecure = strings(config, "registry-mirrors"), strings(config, "insecure-registries")
    ours = [bare(url) for url in MIRRORS]
    wanted = MIRRORS + [url for url in mirrors if bare(url) not in ours]
    if [bare(url) for url in wanted] != [bare(url) for url in mirrors]:
        config["registry-mirrors"] = wanted
    missing = [one for one in INSECURE if bare(one) not in [bare(other) for other in insecure]]
    if missing:
        config["insecure-registries"] = insecure + missing
    return json.dumps(config) != before


def refuse_flags(config):
    """dockerd does not start where a flag and the file both say a thing."""
    flags = [flag for flag, key in (("--registry-mirror", "registry-mirrors"), ("--insecure-registry", "insecure-registries")) if key in config]
    for path in UNITS:
        for name in sorted(os.path.join(path, one) for one in os.listdir(path)) if os.path.isdir(path) else [path]:
            try:
                with open(name, "rb") as file:
                    lines = file.read().decode("utf-8", "replace").splitlines()
            except OSError:
                continue
            for flag in flags:
                if any(flag in line and not line.lstrip().startswith("#") for line in lines):
                    refuse("%s gives dockerd the flag %s, and with %s saying the same it would not start: "
                           "put its value into that file and take the flag out; nothing is changed" % (name, flag, FILE))


def write(path, config):
    """A whole file in place of the old one, with its mode and owner."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".daemon.json.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write((json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
            try:
                old = os.stat(path)
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), old.st_mode & 0o7777)
            except FileNotFoundError:
                os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def is_dockerd(pid):
    try:
        with open("/proc/%s/comm" % pid) as file:
            own = os.readlink("/proc/self/ns/pid") == os.readlink("/proc/%s/ns/pid" % pid)
            return own and file.read().startswith("dockerd")
    except OSError:
        return False


def dockerd():
    """Its process. None: it will read the file when it starts. The socket is no sign: systemd's would start it, and wait for this boot."""
    try:
        with open(PID) as file:
            pids = [file.read().strip()]
    except OSError:
        pids = sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int)
    return next((int(pid) for pid in pids if is_dockerd(pid)), None)


def shown():
    """What dockerd says of itself, None while it does not answer."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(2)
    try:
        connection.sock.connect(SOCKET)
        connection.request("GET", "/info")
        return json.loads(connection.getresponse().read().decode("utf-8"))["RegistryConfig"]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def uses(registry, config):
    mirrors = [bare(url) for url in registry.get("Mirrors") or []]
    known = [place(one) for one in registry.get("InsecureRegistryCIDRs") or []]
    known += [place(name) for name, one in (registry.get("IndexConfigs") or {}).items() if not one.get("Secure")]
    return mirrors == [bare(url) for url in strings(config, "registry-mirrors")] and all(place(one) in known for one in INSECURE)


def reload(config):
    pid, until, told, registry = dockerd(), time.monotonic() + SECONDS, False, None
    while pid is not None:
        registry = shown() or registry
        if registry is not None and uses(registry, config):
            return
        if registry is not None and not told:
            os.kill(pid, signal.SIGHUP)
            told = True
        if time.monotonic() > until:
            if registry is None:
                refuse("dockerd (process %d) does not answer at %s: whether it took what %s says is not known" % (pid, SOCKET, FILE))
            refuse("dockerd (process %d) was told to read %s again, and shows the mirrors %s: see its log" % (pid, FILE, registry.get("Mirrors")))
        time.sleep(0.1)


def main():
    try:
        path = os.path.realpath(FILE)
        config = read(path)
        if merge(config):
            refuse_flags(config)
            write(path, config)
        reload(config)
    except OSError as error:
        refuse(error)


main()
