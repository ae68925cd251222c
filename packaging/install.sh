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

keep_data() {
    say_waiting "$(waiting_now)"
    remove
    say "程序已卸载；记录、密钥、审计日志（/var/lib/kiosk-agent）与配置（/etc/kiosk-agent）保留。"
    say "The program is gone; records, keys, audit trail and configuration are kept."
}

purge() {
    waiting=$(waiting_now)
    if [ "${1:-}" != --yes ]; then
        [ "$waiting" != unknown ] || waiting=未知
        printf '还有 %s 条记录未送达平台。将销毁密钥、记录、审计日志与配置，不可恢复。输入 DESTROY 确认：' "$waiting"
        answer=
        read -r answer || echo
        [ "$answer" = DESTROY ] || fail "未销毁任何数据 / nothing was destroyed"
    fi
    remove
    destroy
}

check_machine() {
    [ "$(id -u)" = 0 ] || fail "请以 root 运行 / run as root"
    [ "$(uname -m)" = "$machine" ] || fail "本包用于 $machine，本机是 $(uname -m) / for $machine, not for this machine"
    for tool in systemctl systemd-sysusers; do
        command -v "$tool" >/dev/null ||
            fail "本机没有 systemd（缺 $tool），服务无法运行；未安装任何文件 / no systemd here; nothing was installed"
    done
    libc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$glibc" "$libc" | sort -V | head -n1)" = "$glibc" ] || fail "glibc $libc 低于 $glibc / is older than $glibc"
    mkdir -p /opt
    [ "$(df -Pk /opt 2>/dev/null | awk 'NR == 2 { print $4 }')" -gt 1000000 ] || fail "/opt 剩余空间不足 1 GB / /opt has less than 1 GB"
    if [ -d "$here/interpreter" ]; then
        python=$here/interpreter/bin/python$minor
    else
        python=$(command -v "python$minor") ||
            fail "本包需要 Python $minor；请改用自带解释器的安装包 / needs Python $minor, or the package that brings one"
    fi
    (cd "$here" && sha256sum --check --quiet SHA256SUMS) ||
        fail "文件校验失败，安装包已损坏或被改动；未安装任何文件 / damaged or altered; nothing was installed"
    if command -v dpkg-query >/dev/null && dpkg-query -W kiosk-agent >/dev/null 2>&1; then
        fail "已由 .deb 安装；请用 dpkg 升级，或先 dpkg --remove kiosk-agent / installed by dpkg: upgrade with dpkg, or remove it first"
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
--remove) [ "$(id -u)" = 0 ] || fail "请以 root 运行 / run as root"; keep_data; exit 0 ;;
--purge) [ "$(id -u)" = 0 ] || fail "请以 root 运行 / run as root"; purge "${2:-}"; exit 0 ;;
'') ;;
*) sed -n '3,5s/^# *//p' "$0" >&2; exit 2 ;;
esac
check_machine
former=$(current)
trap 'say "安装中断，原因见上；${former:-尚无版本} 不受影响。排除后重新执行 / broken off, see above; then install again" >&2' EXIT
install_version
trap - EXIT
configure "$version" || exit 1
