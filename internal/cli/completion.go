package cli

import (
	"embed"
	"fmt"
	"io"
	"strings"
)

// completionScripts are the scripts by which shells ask vgg for completions, by shell.
//
//go:embed completion
var completionScripts embed.FS

// shells returns the shells with a script.
func shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

// writeCompletion writes the script of a shell.
func writeCompletion(w io.Writer, shell string) error {
	data, err := completionScripts.ReadFile("completion/vgg." + shell)
	if err != nil {
		return fmt.Errorf("completion: no script for %s, want one of %s", shell, strings.Join(shells(), ", "))
	}
	_, err = w.Write(data)
	return err
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish,powershell" help:"Shell: bash, zsh, fish or powershell."`
}

func (completionCommand) Help() string {
	return `Prints a script that completes commands, flags and their values in a shell: files, configurations, releases, and the layers and classes of the weights that the command line names.

  - bash: source <(vgg completion bash) in ~/.bashrc, or the script in a file in ~/.local/share/bash-completion/completions/vgg.
  - zsh: the script in a file _vgg in a folder of $fpath, before compinit; or source <(vgg completion zsh) after it.
  - fish: the script in ~/.config/fish/completions/vgg.fish.
  - PowerShell: vgg completion powershell | Out-String | Invoke-Expression in $PROFILE.

Examples:

    vgg completion bash > ~/.local/share/bash-completion/completions/vgg
    vgg completion fish > ~/.config/fish/completions/vgg.fish` + exitHelp
}

func (c *completionCommand) Run(e *environment) error { return writeCompletion(e.stdout, c.Shell) }
