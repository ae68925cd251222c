#!/bin/sh
# Install, upgrade or remove the agent from the offline bundle, on systems whose packages it has none for.
#   ./install.sh            install, or upgrade what is there
#   ./install.sh --remove   take the program away, keep records, keys and configuration
#   ./install.sh --purge    and destroy those too (asks, unless --yes follows)
# Nothing is fetched: every file is in this folder, and is checked against SHA256SUMS first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/target"
. "$here/files/usr/lib/kiosk-agent/versions.sh"
state=/var/lib/kiosk-agent

fail() {
    say "$*" >&2
    exit 1
}

remove() {
    if systemd_runs; then systemctl stop "$unit" || :; fi
    systemctl disable --quiet "$unit" 2>/dev/null || :
    (cd "$here/files" && find . -type f) | while read -r file; do rm -f "/${file#./}"; done
    rm -rf /usr/share/doc/kiosk-agent /usr/lib/kiosk-agent "$base"
    if systemd_runs; then systemctl daemon-reload; fi
}

purge() {
    waiting=未知
    [ -e "$state/outbox.db" ] || waiting=0
    if [ -x /usr/bin/kiosk-agent ] && [ "$waiting" != 0 ]; then
        waiting=$(kiosk-agent outbox stats --json 2>/dev/null | waiting_records)
    fi
    if [ "${1:-}" != --yes ]; then
        printf '还有 %s 条记录未送达平台。将销毁密钥、记录、审计日志与配置，不可恢复。输入 DESTROY 确认：' "$waiting"
        read -r answer
        [ "$answer" = DESTROY ] || fail "未销毁任何数据 / nothing was destroyed"
    fi
    remove
    destroy
}

check_machine() {
    [ "$(id -u)" = 0 ] || fail "请以 root 运行 / run as root"
    [ "$(uname -m)" = "$machine" ] || fail "本包用于 $machine，本机是 $(uname -m)"
    libc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$glibc" "$libc" | sort -V | head -n1)" = "$glibc" ] || fail "glibc $libc 低于 $glibc"
    [ "$(df -Pk /opt | awk 'NR == 2 { print $4 }')" -gt 1000000 ] || fail "/opt 剩余空间不足 1 GB"
    if [ -d "$here/interpreter" ]; then
        python=$here/interpreter/bin/python$minor
    else
        python=$(command -v "python$minor") || fail "本包需要 Python $minor；请改用自带解释器的安装包"
    fi
    (cd "$here" && sha256sum --check --quiet SHA256SUMS) || fail "文件校验失败，安装包已损坏或被改动"
    if command -v dpkg-query >/dev/null && dpkg-query -W kiosk-agent >/dev/null 2>&1; then
        fail "已由 .deb 安装；请用 dpkg 升级，或先 dpkg --remove kiosk-agent"
    fi
}

install_version() {
    dist=$base/dist/$version
    rm -rf "$dist"
    mkdir -p "$base/dist" "$dist"
    home="--home=$(dirname "$(readlink -f "$python")")"
    if [ -d "$here/interpreter" ]; then
        cp -a "$here/interpreter" "$dist/python"
        home=
    fi
    "$python" -I "$here/tree.py" "$dist" --version "$version" --wheels "$here/wheels" \
        --lock "$here/runtime.lock" --lock "$here/own.lock" --weights "$here/weights" $home
    cp -a --no-preserve=ownership "$here/files/." /
    for other in "$base/dist"/*; do [ "$other" = "$dist" ] || rm -rf "$other"; done
}

case "${1:-}" in
--remove) [ "$(id -u)" = 0 ] || fail "请以 root 运行 / run as root"; remove; exit 0 ;;
--purge) [ "$(id -u)" = 0 ] || fail "请以 root 运行 / run as root"; purge "${2:-}"; exit 0 ;;
'') ;;
*) sed -n '3,5s/^# *//p' "$0" >&2; exit 2 ;;
esac
check_machine
had_config=no
[ ! -e "$config" ] || had_config=yes
install_version
configure "$version" || exit 1
