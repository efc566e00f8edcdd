# fish completion of vgg. It asks vgg itself: see vgg completion --help.

function __vgg_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -l files :none
    for line in ($program __complete "=$current" $words[2..-1] 2>/dev/null)
        switch $line
            case :files :dirs :none
                set files $line
            case '*'
                echo $line
        end
    end
    test $files = :none; and return
    set -l flag (string match -r '^--[^=]*=' -- $current)
    set -l path $current
    test -n "$flag"; and set path (string replace -- $flag '' $current)
    for file in (__fish_complete_path $path)
        string match -q ':dirs' $files; and not string match -qr '/(\t|$)' -- $file; and continue
        echo "$flag$file"
    end
end

complete -c vgg -f -a '(__vgg_complete)'
