# A virtual machine whose disk images are replicated: a libvirt guest (KVM_XML) or a plain QEMU process (KVM_ARGUMENTS).
# Reads KVM_GUEST, KVM_XML, KVM_ARGUMENTS, KVM_QEMU, KVM_AGENT.
# shellcheck shell=sh
KVM_GUEST=${KVM_GUEST:-$MODULE}
KVM_XML=${KVM_XML:-}
KVM_ARGUMENTS=${KVM_ARGUMENTS:-}
KVM_QEMU=${KVM_QEMU:-qemu-system-x86_64}
KVM_AGENT=${KVM_AGENT:-no}
CHECK_SECONDS=${CHECK_SECONDS:-4}
MONITOR=$APP_RUN/monitor
AGENT=$APP_RUN/agent

if [ -n "$KVM_XML" ]; then HOW=libvirt; else HOW=qemu; fi

find_guest() {
    if [ "$HOW" = libvirt ]; then
        need virsh "install libvirt (Debian: libvirt-daemon-system, libvirt-clients), or describe the guest in KVM_ARGUMENTS"
    else
        [ -n "$KVM_ARGUMENTS" ] || fail "no guest: name a libvirt domain file as KVM_XML, or a file with QEMU's arguments as KVM_ARGUMENTS"
        need "$KVM_QEMU" "install QEMU (Debian: qemu-system-x86), or correct KVM_QEMU"
        need flock "install util-linux"
    fi
}

virsh_quick() { timeout -k 1 "$CHECK_SECONDS" virsh --quiet "$@"; }
# libvirt's words are translated.
domain_state() { LC_ALL=C virsh_quick domstate "$KVM_GUEST" 2> /dev/null | head -n 1; }

# talk PIPE TOKEN LINE...: writes lines of JSON, prints the answer that carries the token. Pipes of a QEMU that hangs fill or
# stay silent, so all of it is limited; one conversation at a time, or two would take each other's answers.
talk() {
    talk_pipe=$1
    talk_token=$2
    shift 2
    # shellcheck disable=SC2016
    printf '%s\n' "$@" | timeout -k 1 "$CHECK_SECONDS" flock "$talk_pipe.lock" sh -c 'cat > "$1.in" && grep -m 1 -F -- "$2" "$1.out"' talk "$talk_pipe" "$talk_token"
}

# qmp COMMAND: the monitor wants its greeting answered once; again does no harm.
qmp() {
    qmp_token=$MODULE-$$-$(date +%N)
    talk "$MONITOR" "\"$qmp_token\"" '{"execute": "qmp_capabilities"}' "{\"execute\": \"$1\", \"id\": \"$qmp_token\"}"
}

agent_answers() {
    if [ "$HOW" = libvirt ]; then
        virsh_quick qemu-agent-command "$KVM_GUEST" --timeout "$CHECK_SECONDS" '{"execute": "guest-ping"}' > /dev/null 2>&1
    else
        # The token is the number itself, so that the answer to a question that was given up is not taken for this one's.
        agent_token=$(($$ * 1000 + $(date +%s) % 1000))
        talk "$AGENT" "$agent_token" "{\"execute\": \"guest-sync\", \"arguments\": {\"id\": $agent_token}}" > /dev/null 2>&1
    fi
}

# PIDs, or libvirt's state, of the guest; nothing when it is off.
processes() {
    if [ "$HOW" = qemu ]; then
        launched guest
        return
    fi
    case $(domain_state) in
        "" | "shut off" | "no state") ;;
        *) say "$(domain_state)" ;;
    esac
}

# guest_runs: 0 when its processor runs; says in guest_word what it is instead.
guest_runs() {
    if [ "$HOW" = libvirt ]; then
        guest_word=$(domain_state)
        [ "$guest_word" = running ] || [ "$guest_word" = idle ]
    else
        [ -n "$(launched guest)" ] || {
            guest_word="off"
            return 1
        }
        guest_word=$(qmp query-status) || {
            guest_word="silent: QEMU did not answer within $CHECK_SECONDS s"
            return 1
        }
        guest_word=$(printf '%s' "$guest_word" | sed -n 's/.*"status": *"\([a-z-]*\)".*/\1/p')
        [ "$guest_word" = running ]
    fi
}
