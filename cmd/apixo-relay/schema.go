package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/schema"
)

func schemaCommand(w cliEnv) *cobra.Command {
	var (
		list   bool
		output outputFlag
	)
	c := &cobra.Command{
		Use:   "schema [NAME]",
		Short: "Print the JSON Schemas and the AsyncAPI document",
		Long: `Prints what programs can know of the relay's contract: JSON Schemas (draft
2020-12) and an AsyncAPI document (version 3.0). Each document stands for itself:
none needs another, or a network.

  webhook      the body that APIXO sends
  task         the data of a task's event, which its attribute dataschema names
  event        the whole event of a task, as structured mode has it
  quarantine   the event that keeps a body which could not become one
  expected     the value that announces a task, in the bucket of announced tasks
  missing      the data of the event of an announced task without a result
  archive      the data of the events that tell of a task's files in an archive
  asyncapi     where all that is found in NATS, and with which headers

With a name it prints that document, and without one an object that has them all
under their names.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  # all of them, in one object
  apixo-relay schema

  # the schema of what a consumer reads
  apixo-relay schema task > task.schema.json

  # where events are found in NATS
  apixo-relay schema asyncapi

  # names, ids and titles
  apixo-relay schema --list`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return documentNames(), cobra.ShellCompDirectiveNoFileComp
		},
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usageError{fmt.Errorf("%d names were given, and one is printed at a time; without a name all are", len(args))}
			case len(args) == 1 && list:
				return usageError{errors.New("--list takes no name: it lists all documents")}
			case len(args) == 1 && document(args[0]) == nil:
				return usageError{fmt.Errorf("there is no document %q; there are %s", args[0], strings.Join(documentNames(), ", "))}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case list && output == outputJSON:
				return listJSON(w.stdout)
			case list:
				return listText(w.stdout)
			case len(args) == 1:
				_, err := io.WriteString(w.stdout, document(args[0]).Text)
				return err
			default:
				return allDocuments(w.stdout)
			}
		},
	}
	c.Flags().BoolVar(&list, "list", false, "list the documents instead: names, ids and titles")
	output.add(c.Flags(), "the list")
	return c
}

func documentNames() (names []string) {
	for _, d := range schema.Documents() {
		names = append(names, d.Name)
	}
	return names
}

// document is the one of that name, nil if there is none.
func document(name string) *schema.Document {
	for _, d := range schema.Documents() {
		if d.Name == name {
			return &d
		}
	}
	return nil
}

// allDocuments writes an object that has the documents under their names, each
// as it stands but for its indentation.
func allDocuments(out io.Writer) error {
	var b strings.Builder
	separator := "{\n"
	for _, d := range schema.Documents() {
		text := strings.ReplaceAll(strings.TrimSpace(d.Text), "\n", "\n  ")
		fmt.Fprintf(&b, "%s  %q: %s", separator, d.Name, text)
		separator = ",\n"
	}
	b.WriteString("\n}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func listText(out io.Writer) error {
	for _, d := range schema.Documents() {
		if _, err := fmt.Fprintf(out, "%-12s %s\n%-12s %s\n", d.Name, d.Title, "", d.ID); err != nil {
			return err
		}
	}
	return nil
}

// listJSON writes an object a line, as the other commands do.
func listJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	for _, d := range schema.Documents() {
		if err := e.Encode(map[string]string{"name": d.Name, "id": d.ID, "title": d.Title}); err != nil {
			return err
		}
	}
	return nil
}
