//! Web hooks: a delivery is verified over its raw bytes, stored with all it causes in one
//! transaction, and answered. Nothing slow happens within the request.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use esker_forge::{Delivery, DeliveryError, Headers, Push};
use tracing::{error, info, warn};

use crate::project::ProjectName;
use crate::server::App;
use crate::store::{Accepted, NewDelivery, Wish};
use crate::worker::in_full;

/// More bytes no forge sends: GitHub's own limit.
pub(crate) const MOST_BYTES: usize = 25 << 20;

struct RequestHeaders<'a>(&'a HeaderMap);

impl Headers for RequestHeaders<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

/// `POST /hooks/FORGE`.
pub(crate) async fn receive(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = |code: StatusCode, text: String| (code, text + "\n").into_response();
    let config = &app.worker.config;
    let Some(forge) = config.forges.get(&name) else {
        return answer(StatusCode::NOT_FOUND, "there is no such forge here".to_owned());
    };
    let received = match forge.kind.receive(&RequestHeaders(&headers), &body, &forge.webhook_secrets) {
        Ok(received) => received,
        Err(problem) => {
            warn!(forge = name, "Refused a delivery: {problem}");
            let code = match problem {
                DeliveryError::Forged | DeliveryError::NoHeader("x-hub-signature-256") => {
                    StatusCode::UNAUTHORIZED
                }
                DeliveryError::NoHeader(_) | DeliveryError::Unreadable(_) => StatusCode::BAD_REQUEST,
            };
            return answer(code, problem.to_string());
        }
    };
    let wish = match received.delivery {
        Delivery::Nothing(why) => Wish::Nothing(why.to_owned()),
        Delivery::Push(push) => match project(&app, &name, &push) {
            Some(project) => Wish::Check { project, commit: push.commit, reference: push.reference },
            None => Wish::Nothing("this repository is not switched on here".to_owned()),
        },
    };
    let delivery = NewDelivery { forge: name.clone(), id: received.id, event: received.event, wish };
    match app.worker.store.accept(&delivery, app.worker.clock.now()).await {
        Ok(accepted) => {
            info!(forge = name, delivery = delivery.id, "Accepted delivery {}", delivery.id);
            if let Accepted::Queued(id) = &accepted {
                app.worker.wake.notify_one();
                app.worker.tell.notify_one();
                app.worker.live.evaluation_changed(id);
            }
            answer(StatusCode::ACCEPTED, told(&accepted, &delivery.wish))
        }
        Err(problem) => {
            error!(forge = name, "Cannot store a delivery: {}", in_full(&problem));
            answer(StatusCode::SERVICE_UNAVAILABLE, "it cannot be stored now; send it again".to_owned())
        }
    }
}

/// The project that is meant, if it is switched on. Forges do not tell upper from lower case.
fn project(app: &App, forge: &str, push: &Push) -> Option<ProjectName> {
    let mut projects = app.worker.config.projects.keys();
    let is_it = |name: &&ProjectName| {
        name.forge() == forge && name.repository().eq_ignore_ascii_case(&push.repository)
    };
    projects.find(is_it).cloned()
}

fn told(accepted: &Accepted, wish: &Wish) -> String {
    match (accepted, wish) {
        (Accepted::Queued(id), _) => format!("evaluation {} of {} waits", id.number, id.project),
        (Accepted::Known(id), _) => format!("this commit is evaluation {} of {}", id.number, id.project),
        (Accepted::Duplicate, _) => "this delivery has been here before".to_owned(),
        (Accepted::Nothing, Wish::Nothing(why)) => why.clone(),
        (Accepted::Nothing, Wish::Check { .. }) => String::new(),
    }
}
