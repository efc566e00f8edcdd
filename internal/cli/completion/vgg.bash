# bash completion of vgg. It asks vgg itself: see vgg completion --help.

_vgg() {
    # Words as they are typed: bash breaks them at =, : and @.
    local words=() word broken= i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ ${#words[@]} -gt 0 && ( $word == [=:@]* && $word != *[^=:@]* || -n $broken ) ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        broken=
        [[ -n $word && $word != *[^=:@]* ]] && broken=1
    done
    local current=${words[${#words[@]} - 1]}
    unset "words[${#words[@]} - 1]"

    # Candidates replace what bash takes for the current word.
    local last=${COMP_WORDS[COMP_CWORD]} lead
    [[ $last != *[^=:@]* ]] && last=
    lead=${current%"$last"}

    local program=${COMP_WORDS[0]} line files=:none
    program=${program/#\~/$HOME}
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :files | :dirs | :none) files=$line ;;
        *)
            line=${line%%$'\t'*}
            COMPREPLY+=("$(printf '%q' "${line#"$lead"}")")
            ;;
        esac
    done < <("$program" __complete "=$current" "${words[@]}" 2>/dev/null)

    case $files in
    :files | :dirs)
        local kind=-f
        [[ $files == :dirs ]] && kind=-d
        if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
            # Readline knows files and their quotes better.
            compopt -o default 2>/dev/null
            [[ $files == :dirs ]] && compopt -o dirnames 2>/dev/null
        else
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$kind" -- "$last")
        fi
        ;;
    *) compopt +o default +o bashdefault 2>/dev/null ;;
    esac
    return 0
}

complete -o bashdefault -o default -F _vgg vgg
