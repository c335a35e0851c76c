#!/usr/bin/env python3
# Made by chandler: gets this machine its client certificate from the mirror, once, with a token. The key never leaves the machine.
# Asks for seconds at most, so a mirror that is down keeps no machine from starting; the next boot tries again. Killed anywhere, the next run goes on with the same key.
import hashlib, http.client, json, os, ssl, subprocess, sys, threading, urllib.error, urllib.request

ORDER = "/etc/chandler/enrolment.json"
KEY = "/etc/chandler/enrolment.key"
SECONDS = 8
STEP = 3
LARGEST = 256 * 1024


class Refused(Exception):
    pass


def say(why):
    sys.stderr.write("chandler-enrol: %s\n" % why)
    sys.stderr.flush()


def write(path, content, mode):
    """A whole file, in place of the old one."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    temporary = os.path.join(folder, ".%s.new" % os.path.basename(path))
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def openssl(arguments):
    try:
        return subprocess.check_output(["openssl"] + arguments, stderr=subprocess.PIPE, timeout=STEP)
    except FileNotFoundError:
        raise Refused("there is no openssl, which makes the key: install it in the image")
    except subprocess.CalledProcessError as error:
        raise Refused("openssl %s failed: %s" % (arguments[0], error.stderr.decode("utf-8", "replace").strip()))
    except subprocess.TimeoutExpired:
        raise Refused("openssl %s takes too long" % arguments[0])


def key_and_request():
    """The key of an earlier try, for which the same token gets the same certificate; else a new one. And the signing request for it."""
    if not os.path.exists(KEY):
        write(KEY, openssl(["ecparam", "-name", "prime256v1", "-genkey", "-noout"]), 0o600)
    settings = KEY + ".cnf"  # not every image has an openssl.cnf, and openssl wants one
    write(settings, b"[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = x\n", 0o600)
    try:
        request = openssl(["req", "-new", "-config", settings, "-key", KEY])
    finally:
        os.unlink(settings)
    with open(KEY, "rb") as file:
        return file.read(), request


def ask(url, context, data=None, token=None):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, data=data)
    if token:
        request.add_header("Authorization", "Bearer " + token)
        request.add_header("Content-Type", "application/octet-stream")
    try:
        answer = opener.open(request, timeout=STEP).read(LARGEST)
    except urllib.error.HTTPError as error:
        raise Refused("%s answered %d: %s" % (url, error.code, error.read(2000).decode("utf-8", "replace").strip()))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Refused("%s cannot be asked: %s" % (url, getattr(error, "reason", error)))
    return answer


def roots(order, mirror):
    """By what the mirror is known: the file's roots, else its own, if they are those that the token was made for."""
    if order["anchors"]:
        return order["anchors"]
    nobody = ssl.create_default_context()
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    found = ask(mirror + "/chandler/ca.pem", nobody)
    if hashlib.sha256(found).hexdigest() != order["token"].rsplit(".", 1)[1]:
        raise Refused("%s is not the mirror that the token was made for: the CA's roots there are others" % mirror)
    return found.decode("ascii")


def enrol(order):
    key, request = key_and_request()
    chain = None
    for mirror in order["mirrors"]:
        try:
            known = ssl.create_default_context(cadata=roots(order, mirror))
            chain = ask(mirror + "/chandler/certificate", known, request, order["token"])
            break
        except Refused as why:
            say(why)
    if chain is None:
        raise Refused("no mirror gave a certificate; the next boot tries again")
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        raise Refused("what the mirror sent is no certificate; the next boot tries again")
    for pair in order["pairs"]:
        write(pair["key"], key, 0o600)  # before its certificate: engines stop at one without a key
        write(pair["chain"], chain, 0o644)
    for path in order["waiting"]:
        if os.path.exists(path + order["suffix"]):
            os.rename(path + order["suffix"], path)
    os.unlink(ORDER)
    os.unlink(KEY)


def main():
    try:
        with open(ORDER) as file:
            order = json.load(file)
    except FileNotFoundError:
        return 0  # done before
    ended = []

    def work():
        try:
            enrol(order)
            ended.append(0)
        except (Refused, OSError) as why:
            say(why)
            ended.append(1)

    # A name server that does not answer cannot be interrupted, but be left behind.
    worker = threading.Thread(target=work)
    worker.daemon = True
    worker.start()
    worker.join(SECONDS)
    if not ended:
        say("no certificate after %d seconds; the next boot tries again" % SECONDS)
    return ended[0] if ended else 1


code = main()
sys.stderr.flush()
os._exit(code)
