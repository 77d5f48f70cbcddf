package ledgerapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// Status tells how the ledger is doing.
type Status struct {
	Revision      uint64     `json:"revision"`
	Failing       string     `json:"failing,omitempty"` // why the ledger can't be written or followed right now
	SetAsideCount int        `json:"setAsideCount"`
	SetAside      []SetAside `json:"setAside,omitempty"` // the newest
}

// SetAside is an event that this wake could not understand.
type SetAside struct {
	Revision uint64 `json:"revision"`
	Subject  string `json:"subject"`
	Reason   string `json:"reason"`
}

// status answers with how the ledger is doing, as one JSON value.
func (a *API) status(c echo.Context) error {
	v := a.View.Status()
	s := Status{Revision: v.Revision, SetAsideCount: v.SetAsideCount}
	if v.Following != nil {
		s.Failing = v.Following.Error()
	}
	if a.Health != nil {
		if err := a.Health(); err != nil {
			s.Failing = err.Error()
		}
	}
	for _, aside := range v.SetAside {
		s.SetAside = append(s.SetAside, SetAside(aside))
	}
	return c.JSON(http.StatusOK, s)
}
