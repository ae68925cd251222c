# shellcheck shell=sh
# Which version of the agent is in force: functions of the package's scripts, of install.sh and of
# kiosk-agent-rollback. Sourced, not run.
#
#   /opt/kiosk-agent/dist/VERSION        what the package manager owns and takes away
#   /opt/kiosk-agent/versions/VERSION-N  the same files under a second name, whole or not there at all
#   /opt/kiosk-agent/current             a link to one of those, exchanged in one step
#
# Cut the power at any moment: the link names a whole version, and the machine starts with it.

base=/opt/kiosk-agent
unit=kiosk-agent.service
config=/etc/kiosk-agent/config.yaml
# A start that salvages a damaged file takes long; nobody waits for it at a terminal.
patience=60

say() {
    printf 'kiosk-agent: %s\n' "$*"
}

systemd_runs() {
    [ -d /run/systemd/system ]
}

# The name of the version in force; empty when there is none.
current() {
    if [ -e "$base/current" ]; then basename "$(readlink -f "$base/current")"; fi
}

# adopt TREE VERSION: give the tree a place of its own; prints the name of that place. 1: it has none, and nothing of it
# is left. Every step says so by itself: `set -e` does not hold in a function that somebody asks for its outcome.
adopt() {
    mkdir -p "$base/versions" || return 1
    rm -rf "$base/versions"/*.new
    n=1
    while [ -e "$base/versions/$2-$n" ]; do n=$((n + 1)); done
    if settle "$1" "$base/versions/$2-$n"; then
        echo "$2-$n"
    else
        rm -rf "$base/versions"/*.new
        return 1
    fi
}

# settle TREE PLACE: whole, or not there at all.
settle() {
    # Second names cost no space; on a file system without them, copies do.
    { cp -al "$1" "$2.new" 2>/dev/null || { rm -rf "$2.new" && cp -a "$1" "$2.new"; }; } &&
        # An interpreter that came along is told where it is now; -i makes this file the place's own.
        sed -i "s|@HOME@|$2/python/bin|" "$2.new/pyvenv.cfg" &&
        sync -f "$2.new" &&
        mv -T "$2.new" "$2"
}

# use NAME: put a version in force. One rename: there is no moment without a version.
use() {
    ln -sfn "versions/$1" "$base/current.new"
    mv -T "$base/current.new" "$base/current"
    sync -f "$base"
}

# keep NAME...: remove every other version.
keep() {
    for tree in "$base/versions"/*; do
        [ -d "$tree" ] || continue
        case " $* " in *" $(basename "$tree") "*) ;; *) rm -rf "$tree" ;; esac
    done
}

# accepts NAME: does that version accept the configuration? Says what it does not accept.
accepts() {
    "$base/versions/$1/bin/python3" -I -m agent check --no-env --config "$config" >&2
}

# restart: 0 when the service runs, or still starts after a minute; 1 when its start failed.
restart() {
    timeout "$patience" systemctl restart "$unit" && return 0
    [ $? -eq 124 ]
}

# move_to NAME: put a version in force and restart; go back to the former one when it does not start.
move_to() {
    before=$(current)
    use "$1"
    restart && return 0
    journalctl --no-pager -u "$unit" -n 8 >&2 || :
    if [ -n "$before" ] && [ "$before" != "$1" ]; then
        use "$before"
        restart || :
    fi
    return 1
}

# configure VERSION: what remains when the files are there. 1, and the former version in force, when it cannot be.
configure() {
    former=$(current)
    if ! folders || ! new=$(adopt "$base/dist/$1" "$1"); then
        say "没有装好，原因见上一行；${former:-尚无版本} 不受影响。排除后重新执行安装。"
        say "Not installed, the line above says why; ${former:-no version} is in force as before. Then install again."
        return 1
    fi
    if systemd_runs; then
        systemctl daemon-reload
        modprobe -abq usbserial cdc_acm videodev 2>/dev/null || :
        { udevadm control --reload && udevadm trigger --action=change -s usb -s tty; } 2>/dev/null || :
    fi
    if ! switch; then
        rm -rf "${base:?}/versions/$new"
        return 1
    fi
    keep "$new" "$former"
    after "$1"
}

# folders: the service's account, and where its configuration goes.
folders() {
    systemd-sysusers kiosk-agent.conf &&
        mkdir -p /etc/kiosk-agent/secrets &&
        chown root:kiosk-agent /etc/kiosk-agent &&
        chmod 0750 /etc/kiosk-agent &&
        chmod 0700 /etc/kiosk-agent/secrets
}

# switch: from $former to $new.
switch() {
    # What runs goes on until the new version is known to accept what this site has written.
    if [ -n "$former" ] && [ -e "$config" ] && ! accepts "$new"; then
        say "新版本不接受现有配置，$former 继续使用。请按上面逐条改正，再重新执行安装。"
        say "The new version does not accept the configuration; $former stays in force. Correct it, then install again."
        return 1
    fi
    # An operator's `systemctl disable` outlives an upgrade.
    if [ -z "$former" ]; then
        systemctl enable --quiet "$unit" ||
            say "未设为开机启动 / it will not start with the machine: systemctl enable $unit"
    fi
    state_now=inactive
    if systemd_runs; then state_now=$(systemctl is-active "$unit" || :); fi
    case "$state_now" in
    active | activating | reloading)
        if ! move_to "$new"; then
            say "新版本未能启动，$former 已恢复运行。原因见上面的日志；排除后重新执行安装。"
            say "The new version did not start; $former runs again. The journal above says why; then install again."
            return 1
        fi
        ;;
    *)
        use "$new"
        # Installed again over a configuration that was kept: go on where it stopped.
        if [ -z "$former" ] && [ -e "$config" ] && systemd_runs; then
            restart || say "服务未能启动 / the service did not start: journalctl -u kiosk-agent"
        fi
        ;;
    esac
}

# after VERSION: how to go on.
after() {
    if ! systemd_runs; then
        say "此处没有运行 systemd（chroot、制作镜像？）：文件已装好，服务没有启动，本系统以 systemd 开机后才会运行。"
        say "systemd does not run here (a chroot, an image?): the files are in place, the service starts at a boot."
    fi
    if [ -e "$config" ]; then
        say "$1 已就绪；记录与配置未变。退回上一版本：kiosk-agent-rollback"
        return 0
    fi
    cat <<'TEXT'

kiosk-agent 已安装，尚未启动。接下来（以 root 执行）：

  1. 写配置，填写带 * 的项：
       kiosk-agent config generate --out /etc/kiosk-agent/config.yaml
       nano /etc/kiosk-agent/config.yaml
  2. 放入机构密钥、ESB 票据，检查配置，启动服务（逐项询问，输入不显示）：
       kiosk-agent setup
  3. 看一看是否一切正常，并备份密钥：
       kiosk-agent doctor
       kiosk-agent keys backup /media/usb/kiosk-keys

说明：/usr/share/doc/kiosk-agent/docs/zh/installation.md（升级、退回、卸载、更换电脑也从那里看起）
English: /usr/share/doc/kiosk-agent/README.md

TEXT
}

# waiting_records: from the counters on standard input, how many records the platform does not have.
waiting_records() {
    tr -d ' ,"' | awk -F: '/^(ready|sending|held|parked|quarantined):/ { n += $2; seen = 1 }
        END { print seen ? n : "unknown" }'
}

# waiting_now: the same, asked of the program while there is one.
waiting_now() {
    if [ -e /var/lib/kiosk-agent/outbox.db ]; then
        kiosk-agent outbox stats --json 2>/dev/null | waiting_records
    else
        echo 0
    fi
}

# say_waiting NUMBER: that what waits is kept.
say_waiting() {
    case "$1" in
    0) return 0 ;;
    unknown) zh='数量未知的' en='an unknown number of' ;;
    *) zh="$1 条" en=$1 ;;
    esac
    say "还有 ${zh}记录未送达平台；数据保留在 /var/lib/kiosk-agent，重新安装后继续上传。"
    say "$en records wait for the platform; they are kept, and go on once it is installed again."
}

# destroy: keys first, and overwritten: without them nothing that is left on the disk can be read.
destroy() {
    find /var/lib/kiosk-agent/keys /etc/kiosk-agent/secrets -type f -exec shred -u {} + 2>/dev/null || :
    rm -rf /var/lib/kiosk-agent /etc/kiosk-agent /etc/systemd/system/kiosk-agent.service.d
    if systemd_runs; then
        systemctl daemon-reload
        systemctl reset-failed "$unit" 2>/dev/null || :
    fi
    say "已销毁密钥、记录、审计日志、配置与机构密钥。未涉及：密钥备份与导出文件（U 盘）、系统日志（不含个人信息）、已送达平台的记录。"
}
