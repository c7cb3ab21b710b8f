"""Makes a root folder with the libraries and headers of some packages of a Debian
release and nothing else; prints the packages' versions.

    debian_root.py RELEASE FOLDER PACKAGE...

No root rights and no Debian tools are needed. Each file is checked against the hash
that the release's signed index gives for it, as far as HTTPS proves the index.
"""

import hashlib
import io
import lzma
import os
import sys
import tarfile
import time
import urllib.request

MIRROR = "https://deb.debian.org/debian"
ATTEMPTS = 4


def fetch(url):
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.read()
        except OSError as error:
            if attempt == ATTEMPTS:
                sys.exit(f"cannot fetch {url}: {error}")
            time.sleep(2**attempt)


def index(release, packages):
    """Fields of the wanted packages."""
    url = f"{MIRROR}/dists/{release}/main/binary-amd64/Packages.xz"
    text = lzma.decompress(fetch(url)).decode()
    found = {}
    for entry in text.split("\n\n"):
        lines = [line.split(": ", 1) for line in entry.splitlines() if not line.startswith(" ")]
        fields = {line[0]: line[1] for line in lines if len(line) == 2}
        if fields.get("Package") in packages:
            found[fields["Package"]] = fields
    return found


def data(package):
    """The archive of files in a package: an `ar` with three members."""
    if not package.startswith(b"!<arch>\n"):
        sys.exit("a package is no archive")
    at = 8
    while at + 60 <= len(package):
        head = package[at : at + 60]
        name, size = head[:16].decode().strip().rstrip("/"), int(head[48:58])
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=io.BytesIO(package[at + 60 : at + 60 + size]))
        at += 60 + size + size % 2
    sys.exit("a package has no files")


def unpack(archive, folder):
    """Unpacks what ends up under `usr/lib`, `usr/lib64` and `usr/include`."""
    for member in archive:
        name = os.path.normpath(member.name)
        top = name[4:] if name.startswith("usr/") else name
        wanted = top.startswith(("lib", "include/"))
        if not wanted or not (member.isfile() or member.issym()):
            continue
        # Every release gets the merged layout, whatever it was packed as.
        target = os.path.join(folder, "usr", top)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            os.remove(target)
        if member.issym():
            os.symlink(inside(member.linkname, target, folder), target)
        else:
            with open(target, "wb") as file:
                file.write(archive.extractfile(member).read())
            os.chmod(target, member.mode)


def inside(link, target, folder):
    """A link to an absolute path as one that stays in the folder."""
    if not link.startswith("/"):
        return link
    return os.path.relpath(os.path.join(folder, link[1:]), os.path.dirname(target))


def main():
    release, folder, *packages = sys.argv[1:]
    found = index(release, packages)
    for name in packages:
        fields = found.get(name) or sys.exit(f"{release} has no package {name}")
        package = fetch(f"{MIRROR}/{fields['Filename']}")
        if hashlib.sha256(package).hexdigest() != fields["SHA256"]:
            sys.exit(f"{fields['Filename']} is not what the index says")
        unpack(data(package), folder)
        print(f"{name} {fields['Version']}")
    for name in ["lib", "lib64"]:
        link = os.path.join(folder, name)
        if not os.path.lexists(link):
            os.symlink(f"usr/{name}", link)


main()
