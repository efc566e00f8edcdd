#compdef vgg
# zsh completion of vgg. It asks vgg itself: see vgg completion --help.

_vgg() {
    local line files=:none
    local -a candidates
    local current=${words[CURRENT]}
    for line in "${(@f)$(${(Q)words[1]/#\~/$HOME} __complete "=${(Q)current}" "${(@Q)words[2,CURRENT-1]}" 2>/dev/null)}"; do
        case $line in
        :files|:dirs|:none) files=$line ;;
        ?*)
            local word=${line%%$'\t'*} about=
            [[ $line == *$'\t'* ]] && about=${line#*$'\t'}
            candidates+=("${word//:/\\:}${about:+:$about}")
            ;;
        esac
    done
    local found=1
    (( $#candidates )) && _describe -V vgg candidates && found=0
    if [[ $files != :none ]]; then
        [[ $current == --*=* ]] && compset -P '*='
        if [[ $files == :dirs ]]; then
            _files -/ && found=0
        else
            _files && found=0
        fi
    fi
    return found
}

if [[ $funcstack[1] == _vgg ]]; then
    _vgg "$@"
else
    compdef _vgg vgg
fi
