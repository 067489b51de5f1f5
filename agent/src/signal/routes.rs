//! Which requests sign somebody in, and which status says how it ended.

use crate::policy::{
    path::normalise,
    sign_in::{PathMatch, Statuses},
    signal::{Flow, Outcome},
};

/// One sign-in, recovery or enrolment route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    method: String,
    path: PathMatch,
    flow: Flow,
    statuses: Statuses,
}

/// The routes of a service; the first that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

/// Most routes of one log: each is compared with each request.
const ROUTES_MAX: usize = 64;

impl Route {
    /// Reads `METHOD PATH [flow=recovery|enrolment] [success=200,302] [failure=401,4xx] [unknown-user=…]
    /// [challenge=…]`. The path may begin or end with `*`.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err("write a method and a path, as in `POST /login`".to_owned());
        };
        let mut route = Self {
            method: method.to_ascii_uppercase(),
            path: PathMatch::parse(path)?,
            flow: Flow::SignIn,
            statuses: Statuses::default(),
        };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let flow = Flow::NAMED.iter().find(|(flow, _)| *flow == value);
            match (name, Outcome::named(name), flow) {
                (_, Some(outcome), _) => route.statuses.add_list(value, outcome)?,
                ("flow", _, Some((_, flow))) => route.flow = *flow,
                _ => {
                    return Err(format!(
                        "`{word}` is not known; use success=…, failure=…, unknown-user=…, challenge=… or \
                         flow=sign-in, recovery, enrolment"
                    ));
                }
            }
        }
        Ok(route)
    }
}

impl Routes {
    /// These routes.
    ///
    /// # Errors
    /// There are more than [`ROUTES_MAX`].
    pub fn new(routes: Vec<Route>) -> Result<Self, String> {
        if routes.len() > ROUTES_MAX {
            return Err(format!(
                "{} routes; at most {ROUTES_MAX} are possible",
                routes.len()
            ));
        }
        Ok(Self(routes))
    }

    /// What a request tells: the flow and the outcome. `None` if it signs nobody in.
    #[must_use]
    pub fn outcome(&self, method: &str, path: &str, status: u16) -> Option<(Flow, Outcome)> {
        let of_method = |route: &&Route| route.method == method || route.method == "*";
        if !self.0.iter().any(|route| of_method(&route)) {
            return None;
        }
        let path = normalise(path);
        let mut routes = self.0.iter().filter(of_method);
        let route = routes.find(|route| route.path.matches(&path))?;
        let outcome = route.statuses.outcome(status)?;
        Some((route.flow, outcome))
    }
}

impl Default for Routes {
    /// Common sign-in pages. A form that is shown again (200) has failed, one that leads on has succeeded;
    /// an API answers 200 to success.
    fn default() -> Self {
        Self(
            PRESETS
                .iter()
                .filter_map(|preset| Route::parse(preset).ok())
                .collect(),
        )
    }
}

/// API first, since its paths are the more particular ones.
const PRESETS: [&str; 40] = [
    // Authelia, Okta, Keycloak, OAuth token endpoints.
    "POST /api/firstfactor success=200",
    "POST /api/v1/authn success=200",
    "POST *openid-connect/token success=200",
    "POST */oauth/token success=200",
    "POST */oauth2/token success=200",
    "POST */login-actions/authenticate success=302,303 failure=200",
    "POST */login-actions/reset-credentials flow=recovery",
    "POST */login-actions/registration flow=enrolment",
    // JSON APIs.
    "POST /api/login success=2xx",
    "POST /api/signin success=2xx",
    "POST /api/auth/login success=2xx",
    "POST /api/auth/signin success=2xx",
    "POST /api/v1/login success=2xx",
    "POST /api/v1/auth/login success=2xx",
    "POST /api/user/login success=2xx",
    "POST /api/users/login success=2xx",
    "POST /api/session success=2xx",
    "POST /api/sessions success=2xx",
    // Recovery and enrolment.
    "POST */forgot-password flow=recovery",
    "POST */reset-password flow=recovery",
    "POST */password/email flow=recovery",
    "POST */password_reset flow=recovery",
    "POST /users/password flow=recovery",
    "POST */register flow=enrolment",
    "POST */signup flow=enrolment",
    "POST */sign-up flow=enrolment",
    // WordPress, Joomla, phpMyAdmin, Outlook, Java.
    "POST */wp-login.php success=302 failure=200",
    "POST */administrator/index.php success=302,303 failure=200",
    "POST */owa/auth.owa success=302 failure=200",
    "POST */j_security_check success=302,303 failure=200",
    "POST */login.php success=302,303 failure=200",
    "POST */login.aspx success=302 failure=200",
    // Forms.
    "POST */login success=302,303,204 failure=200",
    "POST */log-in success=302,303,204 failure=200",
    "POST */signin success=302,303,204 failure=200",
    "POST */sign-in success=302,303,204 failure=200",
    "POST */sign_in success=302,303,204 failure=200",
    "POST /session success=302,303,204 failure=200",
    "POST /sessions success=302,303,204 failure=200",
    "POST */auth success=302,303,204 failure=200",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_read_and_tell_outcomes() {
        let routes = Routes::default();
        assert_eq!(routes.0.len(), PRESETS.len());
        use Flow::{Enrolment, Recovery, SignIn};
        use Outcome::{Failure, Success};
        let table = [
            ("POST", "/login", 302, Some((SignIn, Success))),
            ("POST", "/login/", 200, Some((SignIn, Failure))),
            ("POST", "/login?next=/", 401, Some((SignIn, Failure))),
            ("POST", "/users/sign_in", 422, Some((SignIn, Failure))),
            ("POST", "/accounts/login/", 302, Some((SignIn, Success))),
            ("GET", "/login", 200, None),
            ("POST", "/login", 500, None),
            ("POST", "/login", 404, None),
            ("POST", "/api/login", 200, Some((SignIn, Success))),
            ("POST", "/api/login", 401, Some((SignIn, Failure))),
            ("POST", "/blog/wp-login.php", 200, Some((SignIn, Failure))),
            ("POST", "/register", 200, Some((Enrolment, Success))),
            ("POST", "/users/password", 302, Some((Recovery, Success))),
            ("POST", "/checkout", 200, None),
        ];
        for (method, path, status, expected) in table {
            assert_eq!(
                routes.outcome(method, path, status),
                expected,
                "{method} {path} {status}"
            );
        }
    }

    #[test]
    fn routes_are_read_and_mistakes_named() {
        let route = Route::parse("post /a/* success=200 failure=4xx,503 flow=recovery").unwrap();
        let routes = Routes::new(vec![route]).unwrap();
        assert_eq!(
            routes.outcome("POST", "/a/b", 503),
            Some((Flow::Recovery, Outcome::Failure))
        );
        assert_eq!(routes.outcome("POST", "/a/b", 302), None);
        for (text, expected) in [
            ("POST", "a method and a path"),
            ("POST login", "begins with `/`"),
            ("POST /a*b", "one `*`"),
            ("POST /a success=ok", "no status"),
            ("POST /a success=9xx", "no status"),
            ("POST /a what=1", "not known"),
        ] {
            let error = Route::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
