"""Makes a root folder with the C library of a Debian release and nothing else.

    bare_root.py RELEASE FOLDER [MIRROR]

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

PACKAGES = ["libc6", "libgcc-s1"]
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


def index(mirror, release):
    """Fields of the wanted packages."""
    url = f"{mirror}/dists/{release}/main/binary-amd64/Packages.xz"
    text = lzma.decompress(fetch(url)).decode()
    found = {}
    for entry in text.split("\n\n"):
        lines = [line.split(": ", 1) for line in entry.splitlines() if not line.startswith(" ")]
        fields = {line[0]: line[1] for line in lines if len(line) == 2}
        if fields.get("Package") in PACKAGES:
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


def libraries(archive, folder):
    """Unpacks what ends up under a lib folder, links of the folder's own tree too."""
    for member in archive:
        name = os.path.normpath(member.name)
        top = name[4:] if name.startswith("usr/") else name
        if not top.startswith("lib") or not (member.isfile() or member.issym()):
            continue
        # Every release gets the merged layout, whatever it was packed as.
        target = os.path.join(folder, "usr", top)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            os.remove(target)
        if member.issym():
            os.symlink(member.linkname, target)
        else:
            with open(target, "wb") as file:
                file.write(archive.extractfile(member).read())
            os.chmod(target, member.mode)


def main():
    release, folder = sys.argv[1:3]
    mirror = sys.argv[3] if len(sys.argv) > 3 else "https://deb.debian.org/debian"
    found = index(mirror, release)
    for name in PACKAGES:
        fields = found.get(name) or sys.exit(f"{release} has no package {name}")
        package = fetch(f"{mirror}/{fields['Filename']}")
        if hashlib.sha256(package).hexdigest() != fields["SHA256"]:
            sys.exit(f"{fields['Filename']} is not what the index says")
        libraries(data(package), folder)
        print(f"{name} {fields['Version']}")
    for name in ["lib", "lib64"]:
        link = os.path.join(folder, name)
        if not os.path.lexists(link):
            os.symlink(f"usr/{name}", link)


main()
